"""Define the interface of a provider, through which the rest of `kopt.llm` uses it.

A provider is a protocol: how a request, a reply, a stream of events, a batch and an error are written.  Its functions
are pure; a `Connection` talks to one server.  Retries, deadlines, prices and keys are not a provider's business.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from enum import StrEnum
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

from kopt.llm.reply import Usage
from kopt.llm.request import Request
from kopt.llm.table import Model

if TYPE_CHECKING:
    import httpx2

Json = Any  # a server may send any JSON; readers raise where the shape is wrong
Body = dict[str, Json]

NO_BATCHES = "a provider that sets has_batches must define the batch methods of Provider and Connection"


class HttpError(Exception):
    """A server answered with an HTTP status that is an error."""

    def __init__(self, status: int, headers: Mapping[str, str], body: object) -> None:
        super().__init__(f"HTTP {status}")
        self.status, self.headers, self.body = status, headers, body


class TransportError(Exception):
    """A connection failed, for the reason `cause`, an exception of httpx2."""

    def __init__(self, cause: BaseException) -> None:
        super().__init__(str(cause))
        self.cause = cause


class Cut(Exception):
    """A stream ended before the reply did."""


class Failed(Exception):
    """A server reported an error in an answer with status 200: inside a stream, or in place of a reply."""

    def __init__(self, error: object) -> None:
        super().__init__(str(error))
        self.error = error


class NotTheProtocol(ValueError):
    """A body is not a finished reply of the provider's protocol."""


class Ending(StrEnum):
    """How a finished reply ended."""

    WHOLE = "whole"
    TRUNCATED = "truncated"
    """Cut off by a token limit."""
    REFUSED = "refused"
    """The model or its provider would not answer."""
    UNSAID = "unsaid"
    """The server gives no reason: the reply is whole, unless it has as many tokens as it may have."""


class Finished(NamedTuple):
    """The contents of the body of a finished reply."""

    text: str
    ending: Ending
    stop: str
    """Why the model stopped, in the provider's word."""
    usage: Usage | None
    """Tokens, without dollars; None where the server reports none."""


NO_STOP = "no reason given"
"""The field `Finished.stop` where a server gives no reason."""


def ending_of(stop: Json, endings: Mapping[str, Ending]) -> tuple[Ending, str]:
    """Return how a reply ended, and the reason in the provider's word.

    Args:
        stop: the reason as the server writes it: a word, which a colon and details may follow, or null.
        endings: endings by reason in lower case; any other reason ends a whole reply.

    Raises:
        TypeError: the reason is no text.
    """
    if stop is None or stop == "":
        return Ending.UNSAID, NO_STOP
    if not isinstance(stop, str):
        raise TypeError("the reason why the model stopped is no text")
    return endings.get(stop.partition(":")[0].strip().lower(), Ending.WHOLE), stop


class ModelList(NamedTuple):
    """A server's list of models."""

    ids: tuple[str, ...]
    whole: bool = True
    """False where the list has further pages."""


class Arrival:
    """Count how much of one reply has arrived."""

    def __init__(self, on_start: Callable[[], None]) -> None:
        self.on_start = on_start
        self.began = False
        self.received = 0
        """Characters of the reply's text."""
        self.ended = False
        """Whether the server said that the stream has ended."""

    def note(self, text: str | None = None) -> None:
        """Note that an event arrived, and the piece of text in it."""
        if not self.began:
            self.began = True
            self.on_start()
        self.received += len(text or "")

    def note_end(self) -> None:
        """Note that the server said that the stream has ended."""
        self.ended = True


class Connection(ABC):
    """Talk to one server with one key.

    A failed call raises `HttpError`, `Cut`, `Failed`, an exception of httpx2 or of the SDK (`Provider.unwrap`).
    """

    @abstractmethod
    async def call(self, body: Body, arrival: Arrival, *, stream: bool) -> Json:
        """Post a request's body and return the whole reply's.

        Args:
            body: as `full_body` writes it.
            arrival: counts what arrives of a stream, since a stream that broke after its first word is charged.
            stream: whether to read the reply as events while the model makes it.
        """

    @abstractmethod
    async def list_models(self) -> ModelList:
        """Ask for the server's list of models, which costs nothing."""

    async def create_batch(self, lines: Sequence[Body]) -> str:
        """Submit lines of `Provider.batch_line` as one batch, and return the provider's name of the batch."""
        raise NotImplementedError(NO_BATCHES)

    async def has_ended(self, batch: str) -> bool:
        """Return whether a batch has ended; a batch that was cut short may have a part of the replies."""
        raise NotImplementedError(NO_BATCHES)

    def batch_output(self, batch: str) -> AsyncIterator[Json]:
        """Yield the lines of an ended batch's output, for `Provider.read_batch_line`."""
        raise NotImplementedError(NO_BATCHES)


class Provider(ABC):
    """One protocol."""

    family: ClassVar[str]
    """Protocols of one family have the same list of models and the same format of batches."""
    is_portable: ClassVar[bool] = False
    """Whether most servers take this protocol, so that requests to any model are written in it too (one provider)."""
    has_batches: ClassVar[bool] = False
    """Whether there is a batch API: the batch methods here and of the connection are written."""
    caches_marked_prefixes: ClassVar[bool] = False
    """Whether a prompt cache holds only prefixes that the request marks, and charges for writing them."""

    @abstractmethod
    def body(self, request: Request, entry: Model) -> Body:
        """Write a request's body, without the fields that ask for a stream and without `Sampling.extra`."""

    @abstractmethod
    def read(self, answer: Json) -> Finished:
        """Read the body of a finished reply.

        Raises:
            Failed: the body reports an error in place of a reply.
            ValueError, LookupError, TypeError, AttributeError: it is none of this protocol.
        """

    def usage_in(self, answer: Json) -> Usage | None:
        """Return the tokens that a body reports, also one that `read` cannot read; None where it reports none.

        Without a method of its own, a provider's unreadable bodies are charged at the most that they can cost.
        """
        return None

    @abstractmethod
    def connect(self, entry: Model, key: str, http: httpx2.AsyncClient) -> Connection:
        """Return a connection over `http`, without retries of its own.  No byte is sent yet.

        Args:
            entry: `base_url` says where the server is.
            key: the key to send; a placeholder where the entry has no `key_variable`.
            http: has the timeouts and the limit of connections; its owner closes it.
        """

    def unwrap(self, error: Exception) -> Exception:
        """Translate an exception of the SDK (see `Connection`); return any other exception unchanged."""
        return error

    def batch_line(self, digest: str, body: Body) -> Body:
        """Write a request's body as a line of a batch's input, under the request's digest."""
        raise NotImplementedError(NO_BATCHES)

    def read_batch_line(self, line: Json) -> tuple[str, Json]:
        """Return the request's digest and the reply's body of a line of a batch's output.

        Raises:
            ValueError: the line reports an error.
            KeyError, TypeError, AttributeError: it is no such line.
        """
        raise NotImplementedError(NO_BATCHES)
