"""Speak OpenAI's Chat Completions API, which most other servers offer too, over the SDK `openai`."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping

from kopt.llm.provider import Arrival, Body, Cut, Failed, Finished, Json, ending_of
from kopt.llm.providers.openai import ENDINGS, OpenAi, usage_of
from kopt.llm.reply import Usage
from kopt.llm.request import Request
from kopt.llm.table import Model
from kopt.llm.wire import object_at, text_in


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
        """Read a completion's first choice: its message's text, not its reasoning."""
        if answer.get("error"):
            raise Failed(answer["error"])
        choice = answer["choices"][0]
        if choice.get("error") or choice.get("finish_reason") == "error":
            raise Failed(choice.get("error") or {})
        message = choice["message"]
        refusal = text_in(message.get("refusal"))
        ending, stop = ending_of("refusal" if refusal else choice.get("finish_reason"), ENDINGS)
        return Finished(text_in(message.get("content")) or refusal, ending, stop, self.usage_in(answer))

    def usage_in(self, answer: Json) -> Usage | None:
        """Return the tokens of a body."""
        return usage_of(object_at(answer, "usage"), "prompt_tokens", "completion_tokens")

    def respelled(self, body: Body, error: Json) -> Body | None:
        """Return the body with its limit under the name that reasoning models of OpenAI want, if it was refused."""
        refused = (error.get("param"), error.get("code")) if isinstance(error, Mapping) else ()
        if refused != ("max_tokens", "unsupported_parameter") or "max_tokens" not in body:
            return None
        rest = {name: value for name, value in body.items() if name != "max_tokens"}
        return rest | {"max_completion_tokens": body["max_tokens"]}

    def streamed(self, body: Body) -> Body:
        """Return the body that asks for a stream with a count of tokens."""
        return super().streamed(body) | {"stream_options": {"include_usage": True}}

    async def fold(self, events: AsyncIterator[Json], arrival: Arrival) -> Body:
        """Join the chunks; the count of tokens comes in a last chunk without choices, or never.

        A stream without a reason why the model stopped is whole where the server says that it has ended.
        """
        texts, refusals, stop, usage, begun = list[str](), list[str](), None, None, False
        async for chunk in events:
            usage = chunk.get("usage") or usage
            for choice in chunk.get("choices") or []:
                begun = True
                if choice.get("error") or choice.get("finish_reason") == "error":
                    raise Failed(choice.get("error") or {})
                delta = choice.get("delta") or {}
                texts.append(text_in(delta.get("content")))
                refusals.append(text_in(delta.get("refusal")))
                stop = choice.get("finish_reason") or stop
                arrival.note(texts[-1])
        if stop is None and not arrival.ended:
            raise Cut
        if not begun:
            return {"choices": [], "usage": usage}
        message = {"content": "".join(texts), "refusal": "".join(refusals) or None}
        return {"choices": [{"message": message, "finish_reason": stop}], "usage": usage}


PROVIDER = ChatCompletions()
