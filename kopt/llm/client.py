"""One call over the official SDKs: the only module that opens connections.

The SDKs do the transport and the event streams; retries, deadlines and prices are ours.  A call ends as a reply that
is to be kept or as a `Fault`, never as an exception: a slot's failure, of whatever kind, is its own.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Iterable, Mapping
from operator import attrgetter
from typing import Any

from kopt.llm import wire
from kopt.llm.reply import Kept, Lack, Refused, Usage
from kopt.llm.request import Request
from kopt.llm.retry import Fault, Patience, of_status, scrub, without
from kopt.llm.table import Model

NO_KEY = "no-key-needed"


class Stream:
    """What has arrived of one reply so far."""

    def __init__(self, on_start: Callable[[], None]) -> None:
        self.on_start = on_start
        self.began = False
        self.received = 0

    def event(self, text: str | None = None) -> None:
        """Something arrived, perhaps a piece of the text."""
        if not self.began:
            self.began = True
            self.on_start()
        self.received += len(text or "")


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
            if (key := self._key(entry)) is not None:
                self._client(entry, key)

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
            return Fault(lack=Lack.KEY, detail=f"{request.model}: {entry.key_variable} is not set", retry=False)
        stream = Stream(on_start)
        try:
            async with asyncio.timeout(self._patience.deadline_seconds):
                answer = await _SEND[entry.provider](self._client(entry, key), wire.body(request, entry), entry, stream)
            kept = wire.reply(answer, request, entry.price)
        except Exception as error:  # noqa: BLE001  whatever a server or an SDK does costs this slot only
            fault = _fault(error, stream, self._patience.deadline_seconds)
            return _settled(fault.model_copy(update={"detail": scrub(fault.detail, [key])}))
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

        client: Any = anthropic.AsyncAnthropic(
            api_key=key, base_url=entry.base_url, timeout=timeout, max_retries=0, http_client=http
        )
        return _loaded(client, "messages")
    import openai

    client = openai.AsyncOpenAI(api_key=key, base_url=entry.base_url, timeout=timeout, max_retries=0, http_client=http)
    return _loaded(client, "responses" if entry.provider == "openai" else "chat.completions")


def _loaded(client: Any, resource: str) -> Any:
    """The client, with the part of its SDK loaded that it will use: the SDKs load lazily."""
    attrgetter(resource)(client)
    return client


async def _messages(client: Any, body: wire.Body, entry: Model, stream: Stream) -> Any:
    rest = dict(body)
    named = {name: rest.pop(name) for name in ("model", "max_tokens", "messages")}
    if not entry.stream:
        return _plain(await client.messages.create(**named, extra_body=rest))
    async with await client.messages.create(**named, extra_body=rest, stream=True) as events:
        return await _gather_message(events, stream)


async def _gather_message(events: Any, stream: Stream) -> wire.Body:
    """Fold the events of a message stream; blocks are text or reasoning, of which only text is kept."""
    message: wire.Body | None = None
    texts: dict[int, list[str]] = {}
    done = False
    async for event in events:
        data = _plain(event)
        kind = data["type"]
        if kind == "message_start":
            message = data["message"]
            stream.event()
        elif kind == "content_block_start" and data["content_block"]["type"] == "text":
            texts[data["index"]] = [data["content_block"].get("text") or ""]
        elif kind == "content_block_delta" and data["delta"]["type"] == "text_delta":
            texts.setdefault(data["index"], []).append(data["delta"]["text"])
            stream.event(data["delta"]["text"])
        elif kind == "message_delta" and message is not None:
            message["stop_reason"] = data["delta"].get("stop_reason") or message.get("stop_reason")
            given = {name: value for name, value in (data.get("usage") or {}).items() if value is not None}
            message["usage"] = (message.get("usage") or {}) | given
        done = done or kind == "message_stop"
    if message is None or not done:
        raise _Cut
    content = [{"type": "text", "text": "".join(parts)} for _, parts in sorted(texts.items())]
    return message | {"content": content}


async def _responses(client: Any, body: wire.Body, entry: Model, stream: Stream) -> Any:
    rest = dict(body)
    named = {name: rest.pop(name) for name in ("model", "input")}
    if not entry.stream:
        return _plain(await client.responses.create(**named, extra_body=rest))
    async with await client.responses.create(**named, extra_body=rest, stream=True) as events:
        return await _last_response(events, stream)


async def _last_response(events: Any, stream: Stream) -> wire.Body:
    """The whole reply, which the last event of a response stream holds."""
    async for event in events:
        data = _plain(event)
        stream.event(data.get("delta") if data["type"] == "response.output_text.delta" else None)
        if data["type"] in ("response.completed", "response.incomplete"):
            whole: wire.Body = data["response"]
            return whole
        if data["type"] == "response.failed":
            raise _Failed((data["response"].get("error")) or {})
        if data["type"] == "error":
            raise _Failed(data)
    raise _Cut


async def _chat(client: Any, body: wire.Body, entry: Model, stream: Stream) -> Any:
    rest = dict(body)
    named = {name: rest.pop(name) for name in ("model", "messages")}
    if not entry.stream:
        return _plain(await client.chat.completions.create(**named, extra_body=rest))
    rest["stream_options"] = {"include_usage": True}
    async with await client.chat.completions.create(**named, extra_body=rest, stream=True) as chunks:
        return await _gather_completion(chunks, stream)


async def _gather_completion(chunks: Any, stream: Stream) -> wire.Body:
    """Fold the chunks of a chat completion; the token count comes in a last chunk without choices, or never."""
    texts, refusals, stop, usage = list[str](), list[str](), None, None
    async for chunk in chunks:
        data = _plain(chunk)
        usage = data.get("usage") or usage
        for choice in data.get("choices") or []:
            delta = choice.get("delta") or {}
            texts.append(delta.get("content") or "")
            refusals.append(delta.get("refusal") or "")
            stop = choice.get("finish_reason") or stop
            stream.event(delta.get("content"))
    if stop is None:
        raise _Cut
    message = {"content": "".join(texts), "refusal": "".join(refusals) or None}
    return {"choices": [{"message": message, "finish_reason": stop}], "usage": usage}


_SEND = {"anthropic": _messages, "openai": _responses, "openai-chat": _chat}


class _Cut(Exception):
    """A stream ended before the reply did."""


class _Failed(Exception):
    """The provider reported an error inside a stream; the argument is its error object."""


def _plain(answer: Any) -> Any:
    """An SDK's value as plain JSON; a text (what the SDKs return for a wrong content type) stays one."""
    return answer.model_dump(mode="json", warnings=False) if hasattr(answer, "model_dump") else answer


def _fault(error: Exception, stream: Stream, deadline: float) -> Fault:
    """What an exception of a call stands for."""
    import anthropic
    import httpx2
    import openai

    if isinstance(error, openai.APIStatusError | anthropic.APIStatusError):
        fault = of_status(error.status_code, error.response.headers, error.body, began=error.status_code < 400)
    elif isinstance(error, _Failed):
        fault = of_status(200, {}, error.args[0], began=True)
    elif isinstance(error.__cause__ or error, httpx2.ConnectError | httpx2.ConnectTimeout | httpx2.PoolTimeout):
        why = type(error.__cause__ or error).__name__
        fault = Fault(lack=Lack.CONNECTION, detail=f"no connection ({why})", retry=True)
    elif isinstance(error, TimeoutError | openai.APITimeoutError | anthropic.APITimeoutError | httpx2.TimeoutException):
        fault = Fault(lack=Lack.DEADLINE, detail=f"no whole reply within {deadline:g} s", retry=True, billed=True)
    elif isinstance(error, _Cut):
        lack, what = (Lack.CONNECTION, "ended early") if stream.began else (Lack.PROTOCOL, "held no reply")
        fault = Fault(lack=lack, detail=f"the stream {what}", retry=True, billed=True)
    elif isinstance(error, openai.APIConnectionError | anthropic.APIConnectionError | httpx2.HTTPError):
        why = type(error.__cause__ or error).__name__
        fault = Fault(lack=Lack.CONNECTION, detail=f"the connection broke ({why})", retry=True, billed=True)
    elif isinstance(error, openai.APIError) and isinstance(error.body, Mapping):
        fault = of_status(200, {}, error.body, began=True)
    elif isinstance(
        error, ValueError | LookupError | TypeError | AttributeError | openai.APIError | anthropic.APIError
    ):
        fault = Fault(lack=Lack.PROTOCOL, detail=f"not the provider's protocol: {error}", retry=True, billed=True)
    else:
        fault = Fault(lack=Lack.DEFECT, detail=f"{type(error).__name__}: {error}", retry=False, billed=True)
    detail = " ".join(fault.detail.split())[:300]
    return fault.model_copy(update={"received": stream.received, "detail": detail})


def _settled(fault: Fault) -> Kept | Fault:
    """A prompt that the provider's filter refused is a refusal like the model's own."""
    return Refused(text=fault.detail, usage=Usage(), stop="content_filter") if fault.refused else fault


def _clean(kept: Kept, key: str) -> Kept:
    """The reply without the key, should a server have echoed it."""
    text = getattr(kept, "text", "")
    return kept.model_copy(update={"text": without(text, [key])}) if text and key != NO_KEY else kept
