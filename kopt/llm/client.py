"""One call over the official SDKs: the only module that opens connections.

The SDKs do the transport and the event streams; retries, deadlines and prices are ours.  A call ends as a reply that
is to be kept or as a `Fault`, never as an exception: a slot's failure, of whatever kind, is its own.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from kopt.llm import wire
from kopt.llm.reply import Kept, NoReplyReason, Refused, Usage
from kopt.llm.request import Request
from kopt.llm.retry import Fault, Patience, of_status, scrub, without
from kopt.llm.streams import FOLD, Arrival, Cut, Failed
from kopt.llm.table import Model

NO_KEY = "no-key-needed"


class Clients:
    """The SDKs' clients of one round, one for each server and key, with bounded connection pools."""

    def __init__(self, patience: Patience, connections: int, environ: Mapping[str, str] = os.environ) -> None:
        self._patience = patience
        self._connections = connections
        self._environ = environ
        self._open: dict[tuple[str, str, str], Any] = {}

    def open(self, entries: Iterable[Model]) -> None:
        """Open the clients that a round needs before its clocks run: loading an SDK takes a second."""
        for entry in entries:
            self.of(entry)

    def of(self, entry: Model) -> Any:
        """The SDK's client for a model, or None when its key is not set."""
        key = self._key(entry)
        return None if key is None else self._client(entry, key)

    def fault(self, error: Exception, entry: Model, arrival: Arrival | None = None) -> Fault:
        """What an exception of a call stands for, its text free of the key."""
        fault = _fault(error, arrival or Arrival(lambda: None), self._patience.deadline_seconds)
        return fault.model_copy(update={"detail": scrub(fault.detail, [self._key(entry) or NO_KEY])})

    async def __aenter__(self) -> Clients:
        return self

    async def __aexit__(self, *_: object) -> None:
        for client in self._open.values():
            await client.close()
        self._open.clear()

    async def send(self, request: Request, entry: Model, on_start: Callable[[], None] = lambda: None) -> Kept | Fault:
        """Make one call; `on_start` is called when the reply begins."""
        key = self._key(entry)
        if key is None:
            return Fault(
                lack=NoReplyReason.KEY, detail=f"{request.model}: {entry.key_variable} is not set", retry=False
            )
        arrival = Arrival(on_start)
        try:
            async with asyncio.timeout(self._patience.deadline_seconds):
                answer = await _call(self._client(entry, key), wire.body(request, entry), entry, arrival)
            kept = wire.reply(answer, request, entry.price)
        except Exception as error:  # noqa: BLE001  whatever a server or an SDK does costs this slot only
            return _settled(self.fault(error, entry, arrival))
        return _clean(kept, key)

    def _key(self, entry: Model) -> str | None:
        if entry.key_variable is None:
            return NO_KEY
        return self._environ.get(entry.key_variable, "").strip() or None

    def _client(self, entry: Model, key: str) -> Any:
        identity = (entry.provider, entry.base_url, entry.key_variable or "")
        if identity not in self._open:
            self._open[identity] = connect(entry, key, self._patience, self._connections)
        return self._open[identity]


def connect(entry: Model, key: str, patience: Patience, connections: int) -> Any:
    """An SDK's asynchronous client without retries of its own."""
    import httpx2

    timeout = httpx2.Timeout(patience.deadline_seconds, connect=patience.connect_seconds)
    limits = httpx2.Limits(max_connections=connections, max_keepalive_connections=connections)
    http = httpx2.AsyncClient(timeout=timeout, limits=limits, follow_redirects=False)
    if entry.provider == "anthropic":
        import anthropic

        return anthropic.AsyncAnthropic(
            api_key=key, base_url=entry.base_url, timeout=timeout, max_retries=0, http_client=http
        )
    import openai

    return openai.AsyncOpenAI(api_key=key, base_url=entry.base_url, timeout=timeout, max_retries=0, http_client=http)


async def _call(client: Any, body: wire.Body, entry: Model, arrival: Arrival) -> Any:
    """Post a body and return the whole reply's, as plain JSON: the SDKs' typed events cost more than they tell.

    A text comes back for a wrong content type; the reader refuses it.
    """
    path = (
        wire.PATHS[entry.provider] if entry.provider == "anthropic" else wire.PATHS[entry.provider].removeprefix("/v1")
    )
    if not entry.stream:
        return await client.post(path, cast_to=object, body=body)
    body = body | {"stream": True}
    if entry.provider == "openai-chat":
        body["stream_options"] = {"include_usage": True}
    events = await client.post(path, cast_to=object, body=body, stream=True, stream_cls=_stream_class(entry))
    async with events:
        return await FOLD[entry.provider](events, arrival)


def _stream_class(entry: Model) -> Any:
    if entry.provider == "anthropic":
        import anthropic

        return anthropic.AsyncStream[object]
    import openai

    return openai.AsyncStream[object]


def _fault(error: Exception, arrival: Arrival, deadline: float) -> Fault:
    """What an exception of a call stands for."""
    import anthropic
    import httpx2
    import openai

    if isinstance(error, openai.APIStatusError | anthropic.APIStatusError):
        fault = of_status(error.status_code, error.response.headers, error.body, began=error.status_code < 400)
    elif isinstance(error, Failed):
        fault = of_status(200, {}, error.args[0], began=True)
    elif isinstance(error.__cause__ or error, httpx2.ConnectError | httpx2.ConnectTimeout | httpx2.PoolTimeout):
        why = type(error.__cause__ or error).__name__
        fault = Fault(lack=NoReplyReason.CONNECTION, detail=f"no connection ({why})", retry=True)
    elif isinstance(error, TimeoutError | openai.APITimeoutError | anthropic.APITimeoutError | httpx2.TimeoutException):
        fault = Fault(
            lack=NoReplyReason.DEADLINE, detail=f"no whole reply within {deadline:g} s", retry=True, billed=True
        )
    elif isinstance(error, Cut):
        lack, what = (
            (NoReplyReason.CONNECTION, "ended early") if arrival.began else (NoReplyReason.PROTOCOL, "held no reply")
        )
        fault = Fault(lack=lack, detail=f"the stream {what}", retry=True, billed=True)
    elif isinstance(error, openai.APIConnectionError | anthropic.APIConnectionError | httpx2.HTTPError):
        why = type(error.__cause__ or error).__name__
        fault = Fault(lack=NoReplyReason.CONNECTION, detail=f"the connection broke ({why})", retry=True, billed=True)
    elif isinstance(error, openai.APIError) and isinstance(error.body, Mapping):
        fault = of_status(200, {}, error.body, began=True)
    elif isinstance(
        error, ValueError | LookupError | TypeError | AttributeError | openai.APIError | anthropic.APIError
    ):
        fault = Fault(
            lack=NoReplyReason.PROTOCOL, detail=f"not the provider's protocol: {error}", retry=True, billed=True
        )
    else:
        fault = Fault(lack=NoReplyReason.DEFECT, detail=f"{type(error).__name__}: {error}", retry=False, billed=True)
    detail = " ".join(fault.detail.split())[:300]
    return fault.model_copy(update={"received": arrival.received, "detail": detail})


def _settled(fault: Fault) -> Kept | Fault:
    """A prompt that the provider's filter refused is a refusal like the model's own."""
    return Refused(text=fault.detail, usage=Usage(), stop="content_filter") if fault.refused else fault


def _clean(kept: Kept, key: str) -> Kept:
    """The reply without the key, should a server have echoed it."""
    text = getattr(kept, "text", "")
    return kept.model_copy(update={"text": without(text, [key])}) if text and key != NO_KEY else kept
