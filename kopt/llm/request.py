"""Define a request to a model: a value that holds everything on which the reply depends, and never a key."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field, JsonValue

from kopt import artifact
from kopt.llm.reply import Truncated
from kopt.model.base import Value
from kopt.store import Key

CONTINUE = "Your reply was cut off. Continue exactly where it stopped, repeat nothing, add no remark."


class Sampling(Value):
    """How a model is asked; a change of any field makes another request."""

    api_model: str
    """The provider's name of the model."""
    reasoning_effort: str | None = None
    temperature: float | None = None
    extra: dict[str, JsonValue] = Field(default_factory=dict)
    """Further fields of the request's body, as the provider names them."""


class Message(Value):
    """One turn of a conversation."""

    role: Literal["user", "assistant"]
    text: str
    stable: str = ""
    """Text before `text` that sibling requests share, for prompt caches."""

    @property
    def whole(self) -> str:
        """Return what the model reads."""
        return self.stable + self.text


class Schema(Value):
    """A JSON schema that the reply must follow; a provider that can enforces it."""

    name: str = Field(pattern=r"^[a-zA-Z0-9_-]{1,64}$")
    body: dict[str, JsonValue]


class Request(Value):
    """A question to a model.  Equal requests have one reply: a further sample has another `sample`."""

    model: str
    """Name of the model in the model table."""
    sampling: Sampling
    system: str = ""
    messages: tuple[Message, ...] = Field(min_length=1)
    sample: int = 0
    """Index among requests that are otherwise equal."""
    max_output_tokens: int = Field(default=16_000, ge=1)
    """Most tokens of the reply, reasoning included."""
    output_schema: Schema | None = None
    template: str
    """Name and version of the prompt's template, e.g. `propose/1`."""

    @property
    def digest(self) -> str:
        """Return the SHA-256 over all fields, hex: the request's name in store, ledgers and exchange folders."""
        return ReplyKey(request=artifact.digest(self)).digest()

    @property
    def chars(self) -> int:
        """Return the number of characters that the model reads."""
        return len(self.system) + sum(len(m.whole) for m in self.messages) + len(str(self.output_schema or ""))

    @property
    def utf8_bytes(self) -> int:
        """Return the number of bytes that the model reads, which is above the number of tokens."""
        texts = [self.system, *(m.whole for m in self.messages), str(self.output_schema or "")]
        return sum(len(text.encode(errors="replace")) for text in texts)


class ReplyKey(Key):
    """The store's key of a reply."""

    kind: ClassVar[str] = "reply"
    determined: ClassVar[bool] = False
    schema_version: ClassVar[int] = 1

    request: str
    """Digest of the request's content."""


def key_of(request: Request) -> ReplyKey:
    """Return the store's key of a request's reply."""
    return ReplyKey(request=artifact.digest(request))


class NoReplyKey(Key):
    """The store's key of the reason why a run got no reply, for replays: a live run asks again."""

    kind: ClassVar[str] = "no_reply"
    determined: ClassVar[bool] = False

    request: str
    """The request's name (`Request.digest`)."""


def continued(request: Request, reply: Truncated) -> Request:
    """Return the request for the rest of a truncated reply; `reply.joined` puts the parts together.

    Raises:
        ValueError: the reply broke off before its first word, so that there is nothing to continue.
    """
    if not reply.text.strip():
        raise ValueError("nothing to continue: the reply holds no text")
    turns = (Message(role="assistant", text=reply.text.rstrip()), Message(role="user", text=CONTINUE))
    return request.model_copy(update={"messages": (*request.messages, *turns)})
