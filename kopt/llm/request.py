"""What is asked of a model: a value that holds everything its reply depends on, and never a key."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field, JsonValue

from kopt import artifact
from kopt.llm.reply import Truncated
from kopt.model.base import Value
from kopt.store import Key

CONTINUE = "Your reply was cut off. Continue exactly where it stopped, repeat nothing, add no remark."


class Sampling(Value):
    """How a model is asked; a change of any of it asks anew."""

    api_model: str
    """The provider's name of the model."""
    reasoning_effort: str | None = None
    temperature: float | None = None
    extra: dict[str, JsonValue] = Field(default_factory=dict)
    """More fields of the request's body, as the provider names them."""


class Message(Value):
    """One turn of a conversation."""

    role: Literal["user", "assistant"]
    text: str
    stable: str = ""
    """Leading text that sibling requests share; it stands before `text`, and prompt caches are told of it."""

    @property
    def whole(self) -> str:
        """What the model reads."""
        return self.stable + self.text


class Schema(Value):
    """A JSON schema that the reply must follow, where the provider can enforce one."""

    name: str = Field(pattern=r"^[a-zA-Z0-9_-]{1,64}$")
    body: dict[str, JsonValue]


class Request(Value):
    """One question to one model.  Equal requests have one reply: a further sample has another `sample`."""

    model: str
    """Name in the model table, as slots name it."""
    sampling: Sampling
    system: str = ""
    messages: tuple[Message, ...] = Field(min_length=1)
    sample: int = 0
    """Sample index among requests that are otherwise equal."""
    max_output_tokens: int = Field(default=16_000, ge=1)
    """Most tokens of the reply, reasoning included."""
    output_schema: Schema | None = None
    template: str
    """Name and version of the prompt's template, e.g. `propose/1`."""

    @property
    def digest(self) -> str:
        """SHA-256 over everything above, hex: the request's name in the store, in ledgers and in exchange folders."""
        return ReplyKey(request=artifact.digest(self)).digest()

    @property
    def chars(self) -> int:
        """Characters of all that the model reads."""
        return len(self.system) + sum(len(m.whole) for m in self.messages) + len(str(self.output_schema or ""))

    @property
    def utf8_bytes(self) -> int:
        """Bytes of all that the model reads: more than its tokens."""
        texts = [self.system, *(m.whole for m in self.messages), str(self.output_schema or "")]
        return sum(len(text.encode(errors="replace")) for text in texts)


class ReplyKey(Key):
    """Where a reply lies in the store."""

    kind: ClassVar[str] = "reply"
    determined: ClassVar[bool] = False
    schema_version: ClassVar[int] = 1

    request: str
    """Digest of the request's content."""


def key_of(request: Request) -> ReplyKey:
    """The store key of a request's reply."""
    return ReplyKey(request=artifact.digest(request))


class NoReplyKey(Key):
    """Where the reason lies for which a run got no reply, so that a replay lacks the same: no live call looks there."""

    kind: ClassVar[str] = "lack"
    determined: ClassVar[bool] = False

    request: str
    """The request's name (`Request.digest`)."""


def continued(request: Request, reply: Truncated) -> Request:
    """The request that asks for the rest of a truncated reply; `reply.joined` puts the parts together.

    Raises:
        ValueError: the reply broke off before its first word, so that there is nothing to continue.
    """
    if not reply.text.strip():
        raise ValueError("nothing to continue: the reply holds no text")
    turns = (Message(role="assistant", text=reply.text.rstrip()), Message(role="user", text=CONTINUE))
    return request.model_copy(update={"messages": (*request.messages, *turns)})
