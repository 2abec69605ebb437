"""Define the five outcomes of a request, four of which were paid for and are kept."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Literal

from pydantic import Field

from kopt.model.base import Value

MOST_TOKENS = 10**12
"""A larger count is beyond any model's reach, and is no count."""

Tokens = Annotated[int, Field(ge=0, le=MOST_TOKENS)]
"""A count of tokens."""


class Usage(Value):
    """Tokens and dollars of a reply.  The input is the sum of the first three fields; reasoning is a part of output."""

    input: Tokens = 0
    """Input tokens at the full price: neither read from nor written to a prompt cache."""
    cached_input: Tokens = 0
    """Input tokens read from a prompt cache."""
    cache_write: Tokens = 0
    """Input tokens written to a prompt cache."""
    output: Tokens = 0
    """Output tokens, reasoning included."""
    reasoning: Tokens = 0
    """Output tokens that were reasoning and are not in the text."""
    dollars: float = Field(default=0.0, ge=0)
    """US dollars, by the model table that held when the reply came."""
    estimated: bool = False
    """True when the provider reported no tokens that can be believed; then these are the most that there can be."""

    def __add__(self, other: Usage) -> Usage:
        """Add up; the sum is estimated if either part is."""
        numbers = {
            name: getattr(self, name) + getattr(other, name) for name in Usage.model_fields if name != "estimated"
        }
        return Usage(**numbers, estimated=self.estimated or other.estimated)


class Answered(Value):
    """A reply that is whole."""

    status: Literal["answered"] = "answered"
    text: str
    usage: Usage
    stop: str
    """Why the model stopped, in the provider's word."""


class Truncated(Value):
    """A reply that a token limit cut off; `request.continued` asks for the rest."""

    status: Literal["truncated"] = "truncated"
    text: str
    usage: Usage
    stop: str


class Refused(Value):
    """A refusal by the model or its provider."""

    status: Literal["refused"] = "refused"
    text: str
    """The model's text in place of an answer, or empty."""
    usage: Usage
    stop: str


class Empty(Value):
    """A reply that was complete and held no text."""

    status: Literal["empty"] = "empty"
    usage: Usage
    stop: str


class NoReplyReason(StrEnum):
    """Why there is no reply."""

    BUDGET = "budget"
    """The next call could have passed a cap of the run."""
    KEY = "key"
    """The key is not set, or the provider refused it."""
    REJECTED = "rejected"
    """The provider refused the request itself: its model name, its size, a parameter."""
    RATE = "rate"
    """Rate limits until the tries or the time were over."""
    SERVER = "server"
    """Errors of the server until the tries or the time were over."""
    CONNECTION = "connection"
    """No connection, or cut connections, until the tries or the time were over."""
    DEADLINE = "deadline"
    """No whole reply within the time limit of a call, until the tries or the time were over."""
    PROTOCOL = "protocol"
    """Bodies that are not the provider's protocol, until the tries or the time were over."""
    QUOTA = "quota"
    """The account has no credit left."""
    MISSING = "missing"
    """A replay, whose recording holds no such request."""
    DEFECT = "defect"
    """A failure of kopt itself; the detail names the exception."""


class Unanswered(Value):
    """No reply.  A later run asks again."""

    status: Literal["unanswered"] = "unanswered"
    reason: NoReplyReason
    detail: str
    """Description in one line, for people, without keys."""
    tries: int = 0
    """Calls that were made for the request."""


Kept = Annotated[Answered | Truncated | Refused | Empty, Field(discriminator="status")]
"""Replies that were paid for; they are in the store."""

Reply = Annotated[Answered | Truncated | Refused | Empty | Unanswered, Field(discriminator="status")]
"""Outcomes of a request."""


def joined(first: Truncated, rest: Answered | Truncated) -> Answered | Truncated:
    """Join a truncated reply and its continuation to one reply, with the usage of both.

    The request for the continuation showed the first part without the white space at its end.
    """
    body = first.text.rstrip()
    lost = first.text[len(body) :]
    if rest.text[:1].isspace():  # the continuation has white space of its own: only ended lines are restored
        lost = "" if rest.text.startswith("\n") else lost[: lost.rfind("\n") + 1]
    return rest.model_copy(update={"text": body + lost + rest.text, "usage": first.usage + rest.usage})


def encodable(text: str) -> str:
    """Return a text with lone surrogates replaced: JSON can escape them, and no file can hold them."""
    return text.encode(errors="replace").decode()


DETAIL_CHARS = 300
"""Most characters of a text from outside in a line for people."""


def one_line(text: str) -> str:
    """Return a text in one line of at most `DETAIL_CHARS` characters, without control characters."""
    line = "".join(filter(str.isprintable, encodable(" ".join(text.split()))))
    return line if len(line) <= DETAIL_CHARS else line[: DETAIL_CHARS - 3] + "..."
