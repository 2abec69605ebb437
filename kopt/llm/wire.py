"""Requests and replies as the providers' protocols write them: pure functions of values and JSON.

One reader serves direct calls, batch output and exchange folders, since all three carry the same bodies.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from kopt.llm.reply import Answered, Empty, Kept, Refused, Truncated, Usage
from kopt.llm.request import Message, Request
from kopt.llm.table import Model, Price, Protocol

Body = dict[str, Any]

CHARS_PER_TOKEN = 3.5
"""Of source code and English together, roughly; used where a provider reports no tokens, and for forecasts."""

PATHS: dict[Protocol, str] = {
    "anthropic": "/v1/messages",
    "openai": "/v1/responses",
    "openai-chat": "/v1/chat/completions",
}
"""Where a body is posted, as batch files name it."""


class NotTheProtocol(ValueError):
    """What came back is not a finished reply of the provider's protocol."""


def tokens(chars: int) -> int:
    """Estimated tokens of so many characters."""
    return math.ceil(chars / CHARS_PER_TOKEN)


def body(request: Request, entry: Model) -> Body:
    """The request as its provider's protocol writes it, without the field that asks for a stream."""
    write = {"anthropic": _messages_body, "openai": _responses_body, "openai-chat": _chat_body}[entry.provider]
    return write(request, entry) | request.sampling.extra


def _messages_body(request: Request, entry: Model) -> Body:
    mark = {"cache_control": {"type": "ephemeral"}} if entry.cache_prefix else {}
    out: Body = {
        "model": request.sampling.api_model,
        "max_tokens": request.max_output_tokens,
        "messages": [{"role": m.role, "content": _blocks(m, mark)} for m in request.messages],
    }
    if request.system:
        out["system"] = [{"type": "text", "text": request.system} | mark]
    if request.sampling.temperature is not None:
        out["temperature"] = request.sampling.temperature
    config: Body = {}
    if request.sampling.reasoning_effort:
        config["effort"] = request.sampling.reasoning_effort
    if request.output_schema and entry.structured:
        config["format"] = {"type": "json_schema", "schema": request.output_schema.body}
    return out | ({"output_config": config} if config else {})


def _blocks(message: Message, mark: Body) -> list[Body]:
    stable = [{"type": "text", "text": message.stable} | mark] if message.stable else []
    return [*stable, *([{"type": "text", "text": message.text}] if message.text else [])]


def _responses_body(request: Request, entry: Model) -> Body:
    out: Body = {
        "model": request.sampling.api_model,
        "max_output_tokens": request.max_output_tokens,
        "input": [{"role": m.role, "content": m.whole} for m in request.messages],
        "store": False,
    }
    if request.system:
        out["instructions"] = request.system
    if request.sampling.temperature is not None:
        out["temperature"] = request.sampling.temperature
    if request.sampling.reasoning_effort:
        out["reasoning"] = {"effort": request.sampling.reasoning_effort}
    if request.output_schema and entry.structured:
        schema = request.output_schema
        out["text"] = {"format": {"type": "json_schema", "name": schema.name, "schema": schema.body, "strict": True}}
    return out


def _chat_body(request: Request, entry: Model) -> Body:
    system = [{"role": "system", "content": request.system}] if request.system else []
    out: Body = {
        "model": request.sampling.api_model,
        "max_tokens": request.max_output_tokens,
        "messages": [*system, *({"role": m.role, "content": m.whole} for m in request.messages)],
    }
    if request.sampling.temperature is not None:
        out["temperature"] = request.sampling.temperature
    if request.sampling.reasoning_effort:
        out["reasoning_effort"] = request.sampling.reasoning_effort
    if request.output_schema and entry.structured:
        schema = request.output_schema
        json_schema = {"name": schema.name, "schema": schema.body, "strict": True}
        out["response_format"] = {"type": "json_schema", "json_schema": json_schema}
    return out


def reply(answer: Any, request: Request, price: Price, *, batch: bool = False) -> Kept:
    """A finished reply's body, of whichever protocol, as a value with its price.

    Raises:
        NotTheProtocol: it is no finished reply.
    """
    try:
        text, stop, usage = _read(answer)
    except (KeyError, IndexError, TypeError, AttributeError, ValueError) as error:
        raise NotTheProtocol(f"the body is no finished reply ({type(error).__name__}: {error})") from error
    usage = usage or estimated(request, text)
    return outcome(text, stop, priced(usage, price, batch=batch))


def priced(usage: Usage, price: Price, *, batch: bool = False) -> Usage:
    """Usage with its dollars."""
    return usage.model_copy(update={"dollars": price.dollars(usage, batch=batch)})


def estimated(request: Request, text: str) -> Usage:
    """Tokens guessed from the texts, for a reply that came without a count."""
    return Usage(input=tokens(request.chars), output=tokens(len(text)), estimated=True)


TRUNCATED = frozenset({"length", "max_tokens", "max_output_tokens", "model_context_window_exceeded"})
REFUSED = frozenset({"refusal", "content_filter", "safety"})


def outcome(text: str, stop: str, usage: Usage) -> Kept:
    """Text, stop reason and usage as one of the four outcomes that are kept; half characters are replaced."""
    text, stop = (part.encode(errors="replace").decode() for part in (text, stop))
    if stop in REFUSED:
        return Refused(text=text, usage=usage, stop=stop)
    if stop in TRUNCATED:
        return Truncated(text=text, usage=usage, stop=stop)
    if not text.strip():
        return Empty(usage=usage, stop=stop)
    return Answered(text=text, usage=usage, stop=stop)


def _read(answer: Any) -> tuple[str, str, Usage | None]:
    if "choices" in answer:
        return _read_completion(answer)
    if answer.get("object") == "response" or "output" in answer:
        return _read_response(answer)
    if answer.get("type") == "message" or "content" in answer:
        return _read_message(answer)
    raise ValueError(f"unknown fields {sorted(answer)[:5]}")


def _read_message(answer: Mapping[str, Any]) -> tuple[str, str, Usage | None]:
    text = "".join(block["text"] for block in answer["content"] if block["type"] == "text")
    used = answer.get("usage") or {}
    if not isinstance(stop := answer["stop_reason"], str):
        raise ValueError("stop_reason is missing")
    if not used.get("output_tokens") and text:
        return text, stop, None
    return (
        text,
        stop,
        Usage(
            input=used.get("input_tokens") or 0,
            cached_input=used.get("cache_read_input_tokens") or 0,
            cache_write=used.get("cache_creation_input_tokens") or 0,
            output=used.get("output_tokens") or 0,
            reasoning=(used.get("output_tokens_details") or {}).get("thinking_tokens") or 0,
        ),
    )


def _read_response(answer: Mapping[str, Any]) -> tuple[str, str, Usage | None]:
    parts = [part for item in answer["output"] if item["type"] == "message" for part in item["content"]]
    text = "".join(part["text"] for part in parts if part["type"] == "output_text")
    refusals = [part["refusal"] for part in parts if part["type"] == "refusal"]
    status = answer["status"]
    if status not in ("completed", "incomplete"):
        raise ValueError(f"status {status!r}")
    stop = status if status == "completed" else (answer.get("incomplete_details") or {}).get("reason") or "length"
    used = answer.get("usage")
    usage = used and _usage(
        used["input_tokens"],
        used["output_tokens"],
        used,
        used.get("input_tokens_details"),
        used.get("output_tokens_details"),
    )
    return (text or "".join(refusals), "refusal" if refusals else stop, usage)


def _read_completion(answer: Mapping[str, Any]) -> tuple[str, str, Usage | None]:
    choice = answer["choices"][0]
    message, stop = choice["message"], choice["finish_reason"]
    if not isinstance(stop, str):
        raise ValueError("finish_reason is missing")
    refusal = message.get("refusal")
    used = answer.get("usage")
    usage = used and _usage(
        used["prompt_tokens"],
        used["completion_tokens"],
        used,
        used.get("prompt_tokens_details"),
        used.get("completion_tokens_details"),
    )
    return (message.get("content") or refusal or "", "refusal" if refusal else stop, usage)


def _usage(given: int, made: int, used: Mapping[str, Any], given_details: Any, made_details: Any) -> Usage:
    """Usage in OpenAI's words, where cached tokens are a part of the input.

    Some compatible servers leave reasoning out of the output but not out of the total: the difference is output too.
    """
    cached = min(given, (given_details or {}).get("cached_tokens") or 0)
    written = min(given - cached, (given_details or {}).get("cache_write_tokens") or 0)
    hidden = max(0, (used.get("total_tokens") or 0) - given - made)
    return Usage(
        input=given - cached - written,
        cached_input=cached,
        cache_write=written,
        output=made + hidden,
        reasoning=max(hidden, (made_details or {}).get("reasoning_tokens") or 0),
    )
