"""Speak OpenAI's Chat Completions API, which most other servers offer too, over the SDK `openai`."""

from __future__ import annotations

from collections.abc import AsyncIterator

from kopt.llm.provider import Arrival, Body, Cut, Ending, Finished, Json
from kopt.llm.providers.openai import ENDINGS, OpenAi, usage_of
from kopt.llm.request import Request
from kopt.llm.table import Model


class ChatCompletions(OpenAi):
    """The Chat Completions API."""

    is_portable = True
    path = "/v1/chat/completions"

    def body(self, request: Request, entry: Model) -> Body:
        """Write a request's body; the system prompt is the first message."""
        system = [{"role": "system", "content": request.system}] if request.system else []
        body: Body = {
            "model": request.sampling.api_model,
            "max_tokens": request.max_output_tokens,
            "messages": [*system, *({"role": m.role, "content": m.whole} for m in request.messages)],
        }
        if request.sampling.temperature is not None:
            body["temperature"] = request.sampling.temperature
        if request.sampling.reasoning_effort:
            body["reasoning_effort"] = request.sampling.reasoning_effort
        if request.output_schema and entry.structured:
            schema = request.output_schema
            json_schema = {"name": schema.name, "schema": schema.body, "strict": True}
            body["response_format"] = {"type": "json_schema", "json_schema": json_schema}
        return body

    def read(self, answer: Json) -> Finished:
        """Read a completion's first choice."""
        choice = answer["choices"][0]
        message, stop = choice["message"], choice["finish_reason"]
        if not isinstance(stop, str):
            raise ValueError("finish_reason is missing")
        refusal = message.get("refusal")
        stop = "refusal" if refusal else stop
        usage = usage_of(answer.get("usage"), "prompt_tokens", "completion_tokens")
        return Finished(message.get("content") or refusal or "", ENDINGS.get(stop, Ending.WHOLE), stop, usage)

    def streamed(self, body: Body) -> Body:
        """Return the body that asks for a stream with a count of tokens."""
        return super().streamed(body) | {"stream_options": {"include_usage": True}}

    async def fold(self, events: AsyncIterator[Json], arrival: Arrival) -> Body:
        """Join the chunks; the count of tokens comes in a last chunk without choices, or never."""
        texts, refusals, stop, usage = list[str](), list[str](), None, None
        async for chunk in events:
            usage = chunk.get("usage") or usage
            for choice in chunk.get("choices") or []:
                delta = choice.get("delta") or {}
                texts.append(delta.get("content") or "")
                refusals.append(delta.get("refusal") or "")
                stop = choice.get("finish_reason") or stop
                arrival.note(delta.get("content"))
        if stop is None:
            raise Cut
        message = {"content": "".join(texts), "refusal": "".join(refusals) or None}
        return {"choices": [{"message": message, "finish_reason": stop}], "usage": usage}


PROVIDER = ChatCompletions()
