"""Speak OpenAI's Responses API, over the SDK `openai`."""

from __future__ import annotations

import json
from abc import abstractmethod
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, cast

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
)
from kopt.llm.reply import Usage
from kopt.llm.request import Request
from kopt.llm.table import Model

if TYPE_CHECKING:
    import httpx2
    import openai

ENDED = frozenset({"completed", "expired", "cancelled", "failed"})
"""States of a batch that has ended."""

ENDINGS = {
    "length": Ending.TRUNCATED,
    "max_tokens": Ending.TRUNCATED,
    "max_output_tokens": Ending.TRUNCATED,
    "refusal": Ending.REFUSED,
    "content_filter": Ending.REFUSED,
    "safety": Ending.REFUSED,
}
"""Endings by stop reason, compatible servers' included; any other stop reason ends a whole reply."""


class OpenAi(Provider):
    """The common part of OpenAI's APIs: SDK, list of models, batches."""

    family = "openai"
    has_batches = True
    path: ClassVar[str]
    """Where a body is posted, as batches name it; `base_url` ends with its first part."""

    def connect(self, entry: Model, key: str, http: httpx2.AsyncClient) -> Connection:
        """Return a connection over the SDK's client."""
        import openai

        sdk = openai.AsyncOpenAI(
            api_key=key, base_url=entry.base_url, timeout=http.timeout, max_retries=0, http_client=http
        )
        return _Connection(sdk, self)

    def unwrap(self, error: Exception) -> Exception:
        """Translate an exception of the SDK; an exception with an error object was raised inside a stream."""
        import openai

        if isinstance(error, openai.APIStatusError):
            return HttpError(error.status_code, error.response.headers, error.body)
        if isinstance(error, openai.APIConnectionError):  # timeouts included
            return TransportError(error.__cause__ or error)
        if isinstance(error, openai.APIError):
            return Failed(error.body) if isinstance(error.body, Mapping) else NotTheProtocol(str(error))
        return error

    def batch_line(self, digest: str, body: Body) -> Body:
        """Write a line of the Batch API's input file."""
        return {"custom_id": digest, "method": "POST", "url": self.path, "body": body}

    def read_batch_line(self, line: Json) -> tuple[str, Json]:
        """Read a line of the Batch API's output or error file."""
        digest = line["custom_id"]
        if line.get("error") or line["response"]["status_code"] != 200:
            raise ValueError(f"{digest[:12]}: {line.get('error') or line['response']['status_code']}")
        return digest, line["response"]["body"]

    def streamed(self, body: Body) -> Body:
        """Return the body that asks for a stream."""
        return body | {"stream": True}

    @abstractmethod
    async def fold(self, events: AsyncIterator[Json], arrival: Arrival) -> Body:
        """Fold a stream of events into the body that a call without a stream returns.

        Raises:
            Cut: the stream ended early.
            Failed: the server reports an error.
        """


class Responses(OpenAi):
    """The Responses API."""

    path = "/v1/responses"

    def body(self, request: Request, entry: Model) -> Body:
        """Write a request's body; the provider does not store the reply."""
        body: Body = {
            "model": request.sampling.api_model,
            "max_output_tokens": request.max_output_tokens,
            "input": [{"role": m.role, "content": m.whole} for m in request.messages],
            "store": False,
        }
        if request.system:
            body["instructions"] = request.system
        if request.sampling.temperature is not None:
            body["temperature"] = request.sampling.temperature
        if request.sampling.reasoning_effort:
            body["reasoning"] = {"effort": request.sampling.reasoning_effort}
        if request.output_schema and entry.structured:
            schema = request.output_schema
            form = {"type": "json_schema", "name": schema.name, "schema": schema.body, "strict": True}
            body["text"] = {"format": form}
        return body

    def read(self, answer: Json) -> Finished:
        """Read a response: its items are messages or reasoning, of which only messages are kept."""
        parts = [part for item in answer["output"] if item["type"] == "message" for part in item["content"]]
        text = "".join(part["text"] for part in parts if part["type"] == "output_text")
        refusals = [part["refusal"] for part in parts if part["type"] == "refusal"]
        stop = answer["status"]
        if stop not in ("completed", "incomplete"):
            raise ValueError(f"status {stop!r}")
        if stop == "incomplete":
            stop = (answer.get("incomplete_details") or {}).get("reason") or "length"
        stop = "refusal" if refusals else stop
        usage = usage_of(answer.get("usage"), "input_tokens", "output_tokens")
        return Finished(text or "".join(refusals), ENDINGS.get(stop, Ending.WHOLE), stop, usage)

    async def fold(self, events: AsyncIterator[Json], arrival: Arrival) -> Body:
        """Return the response in the last event, which is whole."""
        async for event in events:
            kind = event["type"]
            arrival.note(event.get("delta") if kind == "response.output_text.delta" else None)
            if kind in ("response.completed", "response.incomplete"):
                whole: Body = event["response"]
                return whole
            if kind == "response.failed":
                raise Failed(event["response"].get("error") or {})
            if kind == "error":
                raise Failed(event.get("error") or event)
        raise Cut


class _Connection(Connection):
    def __init__(self, sdk: openai.AsyncOpenAI, provider: OpenAi) -> None:
        self._sdk, self._provider = sdk, provider

    async def call(self, body: Body, arrival: Arrival, *, stream: bool) -> Json:
        """Post to the provider's path as plain JSON: parsing the SDK's typed events takes longer and gains nothing."""
        import openai

        path = self._provider.path.removeprefix("/v1")
        if not stream:
            return await self._sdk.post(path, cast_to=object, body=body)
        body = self._provider.streamed(body)
        events = await self._sdk.post(
            path, cast_to=object, body=body, stream=True, stream_cls=openai.AsyncStream[object]
        )
        async with events:
            return await self._provider.fold(events, arrival)

    async def list_models(self) -> ModelList:
        """Ask for the list of models, which has no pages."""
        page = await self._sdk.models.list()
        return ModelList(tuple(model.id for model in page.data), whole=not getattr(page, "has_more", False))

    async def create_batch(self, lines: Sequence[Body]) -> str:
        """Upload the lines as a file and submit it to the Batch API."""
        text = "".join(json.dumps(line, sort_keys=True, ensure_ascii=False) + "\n" for line in lines)
        file = await self._sdk.files.create(file=("requests.jsonl", text.encode()), purpose="batch")
        path = cast(Any, self._provider.path)  # the SDK lists the paths that it knows
        batch = await self._sdk.batches.create(input_file_id=file.id, endpoint=path, completion_window="24h")
        return batch.id

    async def has_ended(self, batch: str) -> bool:
        """Ask for a batch's state."""
        return (await self._sdk.batches.retrieve(batch)).status in ENDED

    async def batch_output(self, batch: str) -> AsyncIterator[Json]:
        """Yield the lines of a batch's output file and of its error file."""
        state = await self._sdk.batches.retrieve(batch)
        for file in filter(None, (state.output_file_id, state.error_file_id)):
            content = await self._sdk.files.content(file)
            for line in content.text.removeprefix("\ufeff").split("\n"):  # a JSON string may hold U+2028
                if line.strip():
                    yield json.loads(line)


PROVIDER = Responses()


def usage_of(used: Mapping[str, Json] | None, given: str, made: str) -> Usage | None:
    """Return the tokens of a reply, where cached tokens are counted as input too; None where nothing is reported.

    Some compatible servers leave reasoning out of the output but not out of the total: the difference is output too.

    Args:
        used: the reply's usage.
        given: name of its count of input tokens; the details have the name with `_details`.
        made: name of its count of output tokens.
    """
    if not used:
        return None
    read, written = used.get(f"{given}_details") or {}, used.get(f"{made}_details") or {}
    whole, output = used[given], used[made]
    cached = min(whole, read.get("cached_tokens") or 0)
    cache_write = min(whole - cached, read.get("cache_write_tokens") or 0)
    hidden = max(0, (used.get("total_tokens") or 0) - whole - output)
    return Usage(
        input=whole - cached - cache_write,
        cached_input=cached,
        cache_write=cache_write,
        output=output + hidden,
        reasoning=max(hidden, written.get("reasoning_tokens") or 0),
    )
