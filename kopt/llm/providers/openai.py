"""Speak OpenAI's Responses API, over the SDK `openai`."""

from __future__ import annotations

import json
from abc import abstractmethod
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from functools import cache
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
    ending_of,
)
from kopt.llm.reply import Usage
from kopt.llm.request import Request
from kopt.llm.table import Model
from kopt.llm.wire import count_in, object_at, text_in, whole_body

if TYPE_CHECKING:
    import httpx2
    import openai

ENDED = frozenset({"completed", "expired", "cancelled", "failed"})
"""States of a batch that has ended."""

ENDINGS = {
    "length": Ending.TRUNCATED,
    "model_length": Ending.TRUNCATED,
    "max_tokens": Ending.TRUNCATED,
    "max_output_tokens": Ending.TRUNCATED,
    "refusal": Ending.REFUSED,
    "content_filter": Ending.REFUSED,
    "safety": Ending.REFUSED,
    "recitation": Ending.REFUSED,
    "prohibited_content": Ending.REFUSED,
}
"""Endings by stop reason, compatible servers' included (`ending_of`)."""


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

    def respelled(self, body: Body, error: Json) -> Body | None:
        """Return a body that avoids the field which a server refused with an error object; None where none can."""
        return None

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
        stop = answer.get("status")
        if answer.get("error") or stop == "failed":
            raise Failed(answer.get("error") or {})
        contents = [item["content"] for item in answer["output"] if item["type"] == "message"]
        text = text_in(contents) or text_in(answer.get("output_text"))
        refusals = [
            text_in(part["refusal"])
            for content in contents
            if isinstance(content, list)
            for part in content
            if isinstance(part, Mapping) and part.get("type") == "refusal"
        ]
        if stop not in (None, "completed", "incomplete"):
            raise ValueError(f"status {stop!r}")
        if stop == "incomplete":
            stop = object_at(answer, "incomplete_details").get("reason") or "length"
        ending, stop = ending_of("refusal" if refusals else stop, ENDINGS)
        return Finished(text or "".join(refusals), ending, stop, self.usage_in(answer))

    def usage_in(self, answer: Json) -> Usage | None:
        """Return the tokens of a body."""
        return usage_of(object_at(answer, "usage"), "input_tokens", "output_tokens")

    async def fold(self, events: AsyncIterator[Json], arrival: Arrival) -> Body:
        """Return the response in the last event, which is whole; some servers leave the text to the events before."""
        texts = list[str]()
        async for event in events:
            kind = event["type"]
            if kind == "response.output_text.delta":
                texts.append(event["delta"])
            arrival.note(texts[-1] if kind == "response.output_text.delta" else None)
            if kind in ("response.completed", "response.incomplete"):
                whole: Body = event["response"]
                return whole if whole.get("output") else whole | {"output": [], "output_text": "".join(texts)}
            if kind == "response.failed":
                raise Failed(event["response"].get("error") or {})
            if kind == "error":
                raise Failed(event.get("error") or event)
        raise Cut


class _Connection(Connection):
    def __init__(self, sdk: openai.AsyncOpenAI, provider: OpenAi) -> None:
        self._sdk, self._provider = sdk, provider
        self._refused_fields: dict[str, Json] = {}
        """The error object with which the server refused a field that can be avoided, by the model's name there."""

    async def call(self, body: Body, arrival: Arrival, *, stream: bool) -> Json:
        """Post to the provider's path, and once more with another field where the server refuses one."""
        import openai

        model = body["model"]
        body = self._provider.respelled(body, self._refused_fields.get(model)) or body
        try:
            return await self._post(body, arrival, stream=stream)
        except openai.BadRequestError as error:
            respelled = self._provider.respelled(body, error.body)
            if respelled is None:
                raise
            self._refused_fields[model] = error.body
        return await self._post(respelled, arrival, stream=stream)

    async def _post(self, body: Body, arrival: Arrival, *, stream: bool) -> Json:
        """Post as plain JSON: parsing the SDK's typed events takes longer and gains nothing."""
        path = self._provider.path.removeprefix("/v1")
        if not stream:
            return await self._sdk.post(path, cast_to=object, body=body)
        body = self._provider.streamed(body)
        events = await self._sdk.post(path, cast_to=object, body=body, stream=True, stream_cls=_stream_class())
        async with events:
            whole = await whole_body(events.response)
            if whole is not None:
                return whole
            events.on_end = arrival.note_end
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


@cache
def _stream_class() -> Any:  # a subclass of a class of the SDK, which is imported here
    """Make the SDK's stream tell when the server says that the stream has ended, which the SDK keeps to itself."""
    import openai

    class Stream(openai.AsyncStream[object]):
        on_end: Callable[[], None] = staticmethod(lambda: None)

        async def _iter_events(self) -> AsyncIterator[Any]:
            async for event in super()._iter_events():
                if event.data.startswith("[DONE]"):
                    self.on_end()
                yield event

    return Stream


def usage_of(used: Mapping[str, Json], given: str, made: str) -> Usage | None:
    """Return the tokens of a reply, where cached tokens are counted as input too; None where they are not counted.

    Some compatible servers leave reasoning out of the output but not out of the total: the difference is output too.

    Args:
        used: the reply's usage.
        given: name of its count of input tokens; the details have the name with `_details`.
        made: name of its count of output tokens.
    """
    whole, output, total = (count_in(used.get(name)) for name in (given, made, "total_tokens"))
    if whole is None or (output is None and total is None):
        return None
    hidden = max(0, (total or 0) - whole - (output or 0))
    read = object_at(used, f"{given}_details")
    cached = min(whole, count_in(read.get("cached_tokens")) or 0)
    cache_write = min(whole - cached, count_in(read.get("cache_write_tokens")) or 0)
    reasoning = count_in(object_at(used, f"{made}_details").get("reasoning_tokens")) or 0
    return Usage(
        input=whole - cached - cache_write,
        cached_input=cached,
        cache_write=cache_write,
        output=(output or 0) + hidden,
        reasoning=max(hidden, reasoning),
    )
