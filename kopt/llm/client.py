"""Make one call: the only module that opens connections and handles keys.

A provider's connection does the transport and the events; retries, deadlines and prices are the caller's.  A call ends
as a reply that is to be kept or as a `Fault`, never as an exception: a slot's failure, of whatever kind, is its own.
"""

from __future__ import annotations

import asyncio
import os
import re
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING

from kopt.llm.faults import Fault, fault_of
from kopt.llm.outcome import most_usage, outcome
from kopt.llm.provider import Arrival, Connection, Json
from kopt.llm.registry import full_body, provider_named
from kopt.llm.reply import Empty, Kept, NoReplyReason, Refused, Usage
from kopt.llm.request import Request
from kopt.llm.table import Model
from kopt.model.asking import CallOptions

if TYPE_CHECKING:
    import httpx2

NO_KEY = "no-key-needed"
"""Placeholder for the key of a server whose entry has no `key_variable`."""


class Clients:
    """Hold the connections of one round, one for each protocol, server and key, with bounded pools."""

    def __init__(self, options: CallOptions, connections: int, environ: Mapping[str, str] = os.environ) -> None:
        self._options = options
        self._connections = connections
        self._environ = environ
        self._http: list[httpx2.AsyncClient] = []
        self._open: dict[tuple[str, str, str], Connection] = {}

    async def __aenter__(self) -> Clients:
        return self

    async def __aexit__(self, *_: object) -> None:
        for http in self._http:
            await http.aclose()
        self._open.clear()

    def open(self, entries: Iterable[Model]) -> None:
        """Open the connections that a round needs before its clocks run: loading an SDK takes a second."""
        for entry in entries:
            self.connection(entry)

    def connection(self, entry: Model) -> Connection | None:
        """Return the connection to a model's server, or None when its key is not set."""
        key = self._key(entry)
        return None if key is None else self._connection(entry, key)

    def fault(self, error: Exception, entry: Model, arrival: Arrival | None = None) -> Fault:
        """Return the fault for an exception of a call; the fault's text does not contain the key."""
        plain = provider_named(entry.provider).unwrap(error)
        fault = fault_of(plain, arrival or Arrival(lambda: None), self._options.deadline_seconds)
        return fault.model_copy(update={"detail": scrub(fault.detail, [self._key(entry) or NO_KEY])})

    async def send(self, request: Request, entry: Model, on_start: Callable[[], None] = lambda: None) -> Kept | Fault:
        """Make one call; `on_start` is called when the reply begins."""
        key = self._key(entry)
        if key is None:
            detail = f"{request.model}: {entry.key_variable} is not set"
            return Fault(reason=NoReplyReason.KEY, detail=detail, retry=False)
        arrival = Arrival(on_start)
        answer: Json = None
        try:
            async with asyncio.timeout(self._options.deadline_seconds):
                connection = self._connection(entry, key)
                answer = await connection.call(full_body(request, entry), arrival, stream=entry.stream)
            return _without_key(outcome(answer, request, entry), key)
        except Exception as error:  # noqa: BLE001  whatever a server or an SDK does costs this slot only
            fault = self.fault(error, entry, arrival)
            if isinstance(answer, Mapping | list):
                fault = fault.of_whole_body(provider_named(entry.provider).usage_in(answer))
            return _refusal(fault, request, entry) if fault.refused else fault

    def _key(self, entry: Model) -> str | None:
        if entry.key_variable is None:
            return NO_KEY
        return self._environ.get(entry.key_variable, "").strip() or None

    def _connection(self, entry: Model, key: str) -> Connection:
        identity = (entry.provider, entry.base_url, entry.key_variable or "")
        if identity not in self._open:
            self._open[identity] = provider_named(entry.provider).connect(entry, key, self._http_client())
        return self._open[identity]

    def _http_client(self) -> httpx2.AsyncClient:
        import httpx2

        timeout = httpx2.Timeout(self._options.deadline_seconds, connect=self._options.connect_seconds)
        limits = httpx2.Limits(max_connections=self._connections, max_keepalive_connections=self._connections)
        self._http.append(httpx2.AsyncClient(timeout=timeout, limits=limits, follow_redirects=False))
        return self._http[-1]


def _refusal(fault: Fault, request: Request, entry: Model) -> Refused:
    """Return a refusal, like one of the model, for a prompt that the provider's filter refused."""
    usage = Usage()
    if fault.usage is not None:
        usage = fault.usage.model_copy(update={"dollars": entry.price.dollars(fault.usage)})
    elif fault.billed:
        usage = most_usage(request, entry)
    return Refused(text=fault.detail, usage=usage, stop="content_filter")


def _without_key(kept: Kept, key: str) -> Kept:
    """Return the reply without the key, should a server have echoed it."""
    if isinstance(kept, Empty) or key == NO_KEY:
        return kept
    return kept.model_copy(update={"text": without(kept.text, [key])})


KEY_SHAPES = re.compile(
    r"(?:sk|pk|rk)-[A-Za-z0-9_\-*.]{6,}|AIza[A-Za-z0-9_\-]{10,}|(?i:bearer)\s+[A-Za-z0-9._\-+/=]{6,}"
)
"""Pattern of providers' keys."""


def scrub(text: str, secrets: Iterable[str] = ()) -> str:
    """Return a text without key material: neither the given keys nor anything of a key's shape."""
    return KEY_SHAPES.sub("[key]", without(text, secrets))


def without(text: str, secrets: Iterable[str]) -> str:
    """Return a text without the given keys, and otherwise untouched."""
    for secret in secrets:
        if len(secret) >= 3:
            text = text.replace(secret, "[key]")
    return text
