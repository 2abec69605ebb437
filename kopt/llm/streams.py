"""Fold a provider's event stream into the body that a direct call would have brought: plain JSON in, plain JSON out."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Any

Json = dict[str, Any]


class Cut(Exception):
    """A stream ended before the reply did."""


class Failed(Exception):
    """The provider reported an error inside a stream; the argument is its error object."""


class Arrival:
    """What has arrived of one reply so far."""

    def __init__(self, on_start: Callable[[], None]) -> None:
        self.on_start = on_start
        self.began = False
        self.received = 0

    def note(self, text: str | None = None) -> None:
        """Something arrived, perhaps a piece of the text."""
        if not self.began:
            self.began = True
            self.on_start()
        self.received += len(text or "")


async def fold_message(events: AsyncIterator[Any], arrival: Arrival) -> Json:
    """Anthropic's Messages: blocks are text or reasoning, of which only text is kept.

    Raises:
        Cut: the stream ended early.
    """
    message: Json | None = None
    texts: dict[int, list[str]] = {}
    done = False
    async for event in events:
        kind = event["type"]
        if kind == "message_start":
            message = dict(event["message"])
            arrival.note()
        elif kind == "content_block_start" and event["content_block"]["type"] == "text":
            texts[event["index"]] = [event["content_block"].get("text") or ""]
        elif kind == "content_block_delta" and event["delta"]["type"] == "text_delta":
            texts.setdefault(event["index"], []).append(event["delta"]["text"])
            arrival.note(event["delta"]["text"])
        elif kind == "message_delta" and message is not None:
            message["stop_reason"] = event["delta"].get("stop_reason") or message.get("stop_reason")
            message["usage"] = _merged(message.get("usage"), event.get("usage"))
        done = done or kind == "message_stop"
    if message is None or not done:
        raise Cut
    return message | {"content": [{"type": "text", "text": "".join(parts)} for _, parts in sorted(texts.items())]}


def _merged(known: Json | None, new: Json | None) -> Json:
    return (known or {}) | {name: value for name, value in (new or {}).items() if value is not None}


async def fold_response(events: AsyncIterator[Any], arrival: Arrival) -> Json:
    """OpenAI's Responses: the last event holds the whole reply.

    Raises:
        Cut: the stream ended early.
        Failed: the provider says that it failed.
    """
    async for event in events:
        kind = event["type"]
        arrival.note(event.get("delta") if kind == "response.output_text.delta" else None)
        if kind in ("response.completed", "response.incomplete"):
            whole: Json = event["response"]
            return whole
        if kind == "response.failed":
            raise Failed(event["response"].get("error") or {})
        if kind == "error":
            raise Failed(event.get("error") or event)
    raise Cut


async def fold_completion(chunks: AsyncIterator[Any], arrival: Arrival) -> Json:
    """Chat Completions: the token count comes in a last chunk without choices, or never.

    Raises:
        Cut: the stream ended early.
    """
    texts, refusals, stop, usage = list[str](), list[str](), None, None
    async for chunk in chunks:
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


FOLD: Mapping[str, Callable[[AsyncIterator[Any], Arrival], Awaitable[Json]]] = {
    "anthropic": fold_message,
    "openai": fold_response,
    "openai-chat": fold_completion,
}
"""By protocol."""
