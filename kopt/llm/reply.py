"""What came back: five outcomes, four of which were paid for and are kept."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Literal

from pydantic import Field

from kopt.model.base import Value


class Usage(Value):
    """Tokens and dollars of one reply.  Input is the sum of the first three; reasoning is a part of output."""

    input: int = Field(default=0, ge=0)
    """Input tokens at the full price: neither read from nor written to a prompt cache."""
    cached_input: int = Field(default=0, ge=0)
    """Input tokens read from a prompt cache."""
    cache_write: int = Field(default=0, ge=0)
    """Input tokens written to a prompt cache."""
    output: int = Field(default=0, ge=0)
    """Output tokens, reasoning included."""
    reasoning: int = Field(default=0, ge=0)
    """Output tokens that were reasoning and are not in the text."""
    dollars: float = Field(default=0.0, ge=0)
    """At the price table that held when the reply came."""
    estimated: bool = False
    """True when the provider reported no tokens and they were estimated from the texts."""

    def __add__(self, other: Usage) -> Usage:
        """Sums, estimated if either is."""
        numbers = {
            name: getattr(self, name) + getattr(other, name) for name in Usage.model_fields if name != "estimated"
        }
        return Usage(**numbers, estimated=self.estimated or other.estimated)


class Answered(Value):
    """A whole reply."""

    status: Literal["answered"] = "answered"
    text: str
    usage: Usage
    stop: str
    """Why the model stopped, as the provider says it."""


class Truncated(Value):
    """The reply was cut off by a token limit; `continued` asks for the rest."""

    status: Literal["truncated"] = "truncated"
    text: str
    usage: Usage
    stop: str


class Refused(Value):
    """The model or its provider would not answer."""

    status: Literal["refused"] = "refused"
    text: str
    """What it said instead, or empty."""
    usage: Usage
    stop: str


class Empty(Value):
    """The reply was complete and held no text."""

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
    """Rate-limited until the tries or the time were over."""
    SERVER = "server"
    """Errors of the server until the tries or the time were over."""
    CONNECTION = "connection"
    """No connection, or cut connections, until the tries or the time were over."""
    DEADLINE = "deadline"
    """No whole reply within the time of a call, again and again."""
    PROTOCOL = "protocol"
    """What came back was not the provider's protocol, again and again."""
    QUOTA = "quota"
    """The account has no credit left."""
    MISSING = "missing"
    """Replayed, and the recording holds no such request."""
    DEFECT = "defect"
    """The client itself failed; the detail names the exception."""


class Unanswered(Value):
    """No reply.  It is not kept: a later run asks again."""

    status: Literal["unanswered"] = "unanswered"
    kind: NoReplyReason
    detail: str
    """One line for a person, free of keys."""
    tries: int = 0
    """Calls that were made."""


Kept = Annotated[Answered | Truncated | Refused | Empty, Field(discriminator="status")]
"""Replies that were paid for; they lie in the store."""

Reply = Annotated[Answered | Truncated | Refused | Empty | Unanswered, Field(discriminator="status")]


def joined(first: Truncated, rest: Answered | Truncated) -> Answered | Truncated:
    """A truncated reply and its continuation as one reply, with the usage of both.

    The continuation was asked for without the white space at the end of the first part.
    """
    body = first.text.rstrip()
    lost = first.text[len(body) :]
    if rest.text[:1].isspace():  # it begins with white space of its own, but for the lines that ended
        lost = "" if rest.text.startswith("\n") else lost[: lost.rfind("\n") + 1]
    return rest.model_copy(update={"text": body + lost + rest.text, "usage": first.usage + rest.usage})
