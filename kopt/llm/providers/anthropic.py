"""Speak Anthropic's Messages API, over the SDK `anthropic`."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import TYPE_CHECKING, Any, cast

from kopt.llm.provider import (
    Arrival,
    Body,
    Connection,
    Cut,
    Ending,
    Failed,
    Finished,
    HttpError,
    Json,
    ModelList,
    NotTheProtocol,
    Provider,
    TransportError,
    ending_of,
)
from kopt.llm.reply import Usage
from kopt.llm.request import Message, Request
from kopt.llm.table import Model
from kopt.llm.wire import count_in, object_at, text_in, whole_body

if TYPE_CHECKING:
    import anthropic
    import httpx2

PATH = "/v1/messages"

MOST_LISTED = 1000
"""Models in one page of a list, the most that the API gives."""

ENDINGS = {
    "max_tokens": Ending.TRUNCATED,
    "model_context_window_exceeded": Ending.TRUNCATED,
    "refusal": Ending.REFUSED,
}
"""Endings by stop reason (`ending_of`)."""


class Messages(Provider):
    """The Messages API: prefixes of a prompt are cached where the request marks them."""

    family = "anthropic"
    has_batches = True
    caches_marked_prefixes = True

    def body(self, request: Request, entry: Model) -> Body:
        """Write a request's body; effort and JSON schema go into `output_config`."""
        mark = {"cache_control": {"type": "ephemeral"}} if entry.cache_prefix else {}
        body: Body = {
            "model": request.sampling.api_model,
            "max_tokens": request.max_output_tokens,
            "messages": [{"role": m.role, "content": _blocks(m, mark)} for m in request.messages],
        }
        if request.system:
            body["system"] = [{"type": "text", "text": request.system} | mark]
        if request.sampling.temperature is not None:
            body["temperature"] = request.sampling.temperature
        config: Body = {}
        if request.sampling.reasoning_effort:
            config["effort"] = request.sampling.reasoning_effort
        if request.output_schema and entry.structured:
            config["format"] = {"type": "json_schema", "schema": request.output_schema.body}
        return body | ({"output_config": config} if config else {})

    def read(self, answer: Json) -> Finished:
        """Read a message: its blocks are text or reasoning, of which only text is kept."""
        if answer.get("error"):
            raise Failed(answer["error"])
        if answer["content"] is None:
            raise ValueError("content is missing")
        text = text_in(answer["content"])
        ending, stop = ending_of(answer.get("stop_reason"), ENDINGS)
        return Finished(text, ending, stop, self.usage_in(answer))

    def usage_in(self, answer: Json) -> Usage | None:
        """Return the tokens of a body; None where input or output is not counted."""
        used = object_at(answer, "usage")
        given, made = count_in(used.get("input_tokens")), count_in(used.get("output_tokens"))
        if given is None or made is None:
            return None
        return Usage(
            input=given,
            cached_input=count_in(used.get("cache_read_input_tokens")) or 0,
            cache_write=count_in(used.get("cache_creation_input_tokens")) or 0,
            output=made,
            reasoning=count_in(object_at(used, "output_tokens_details").get("thinking_tokens")) or 0,
        )

    def connect(self, entry: Model, key: str, http: httpx2.AsyncClient) -> Connection:
        """Return a connection over the SDK's client."""
        import anthropic

        sdk = anthropic.AsyncAnthropic(
            api_key=key, base_url=entry.base_url, timeout=http.timeout, max_retries=0, http_client=http
        )
        return _Connection(sdk)

    def unwrap(self, error: Exception) -> Exception:
        """Translate an exception of the SDK."""
        import anthropic

        if isinstance(error, anthropic.APIStatusError):
            return HttpError(error.status_code, error.response.headers, error.body)
        if isinstance(error, anthropic.APIConnectionError):  # timeouts included
            return TransportError(error.__cause__ or error)
        return NotTheProtocol(str(error)) if isinstance(error, anthropic.APIError) else error

    def batch_line(self, digest: str, body: Body) -> Body:
        """Write an item of a Message Batch."""
        return {"custom_id": digest, "params": body}

    def read_batch_line(self, line: Json) -> tuple[str, Json]:
        """Read a result of a Message Batch."""
        digest, result = line["custom_id"], line["result"]
        if result["type"] != "succeeded":
            raise ValueError(f"{digest[:12]}: {result['type']}")
        return digest, result["message"]


class _Connection(Connection):
    def __init__(self, sdk: anthropic.AsyncAnthropic) -> None:
        self._sdk = sdk

    async def call(self, body: Body, arrival: Arrival, *, stream: bool) -> Json:
        """Post to the Messages API as plain JSON: parsing the SDK's typed events takes longer and gains nothing."""
        import anthropic

        if not stream:
            return await self._sdk.post(PATH, cast_to=object, body=body)
        events = await self._sdk.post(
            PATH, cast_to=object, body=body | {"stream": True}, stream=True, stream_cls=anthropic.AsyncStream[object]
        )
        async with events:
            whole = await whole_body(events.response)
            return whole if whole is not None else await _fold(events, arrival)

    async def list_models(self) -> ModelList:
        """Ask for the first page of models."""
        page = await self._sdk.models.list(limit=MOST_LISTED)
        return ModelList(tuple(model.id for model in page.data), whole=not page.has_more)

    async def create_batch(self, lines: Sequence[Body]) -> str:
        """Submit a Message Batch."""
        requests = cast(Any, lines)  # the SDK types every field of a body
        return (await self._sdk.messages.batches.create(requests=requests)).id

    async def has_ended(self, batch: str) -> bool:
        """Ask for a batch's state."""
        return (await self._sdk.messages.batches.retrieve(batch)).processing_status == "ended"

    async def batch_output(self, batch: str) -> AsyncIterator[Json]:
        """Yield a batch's results."""
        async for item in await self._sdk.messages.batches.results(batch):
            yield item.model_dump(mode="json", warnings=False)


PROVIDER = Messages()


def _blocks(message: Message, mark: Body) -> list[Body]:
    """Return a message's content, its stable part marked for the prompt cache."""
    stable = [{"type": "text", "text": message.stable} | mark] if message.stable else []
    return [*stable, *([{"type": "text", "text": message.text}] if message.text else [])]


async def _fold(events: AsyncIterator[Json], arrival: Arrival) -> Body:
    """Fold a stream of events into the body that a call without a stream returns.

    The output that the first event counts is not the reply's: where no later event counts it, it is not known.

    Raises:
        Cut: the stream ended early.
    """
    message: Body | None = None
    texts: dict[int, list[str]] = {}
    usage: Body = {}
    done = False
    async for event in events:
        kind = event["type"]
        if kind == "message_start":
            message = dict(event["message"])
            usage = dict(object_at(message, "usage")) | {"output_tokens": None}
            arrival.note()
        elif kind == "content_block_start" and event["content_block"]["type"] == "text":
            texts[event["index"]] = [event["content_block"].get("text") or ""]
        elif kind == "content_block_delta" and event["delta"]["type"] == "text_delta":
            texts.setdefault(event["index"], []).append(event["delta"]["text"])
            arrival.note(event["delta"]["text"])
        elif kind == "message_delta" and message is not None:
            message["stop_reason"] = event["delta"].get("stop_reason") or message.get("stop_reason")
            usage |= {name: value for name, value in object_at(event, "usage").items() if value is not None}
        done = done or kind == "message_stop"
    if message is None or not (done or message.get("stop_reason")):
        raise Cut
    content = [{"type": "text", "text": "".join(parts)} for _, parts in sorted(texts.items())]
    return message | {"content": content, "usage": usage}
