"""Whole and streamed replies of the three protocols, as a local server sends them.  Only the standard library."""

from __future__ import annotations

import json
from typing import Any

USAGE = {"given": 100, "cached": 40, "made": 20, "reasoning": 5}


def final(path: str, text: str, fault: str) -> dict[str, Any]:
    """A whole reply body."""
    text = {"refuse": "I cannot help with that.", "truncate": text[: len(text) // 2], "empty": ""}.get(fault, text)
    if path.endswith("/messages"):
        stop = {"refuse": "refusal", "truncate": "max_tokens"}.get(fault, "end_turn")
        content = [{"type": "text", "text": text}] if text else []
        return message(stop, content) | {"usage": message_usage()}
    if path.endswith("/responses"):
        return response(text, fault)
    stop = {"truncate": "length"}.get(fault, "stop")
    said = {"role": "assistant", "content": None if fault == "refuse" else text, "refusal": None}
    said["refusal"] = text if fault == "refuse" else None
    choice = {"index": 0, "message": said, "finish_reason": stop}
    return {
        "id": "c",
        "object": "chat.completion",
        "created": 0,
        "model": "m",
        "choices": [choice],
        "usage": chat_usage(),
    }


def message(stop: str | None, content: list[Any]) -> dict[str, Any]:
    return {
        "id": "m", "type": "message", "role": "assistant", "model": "m",
        "content": content, "stop_reason": stop, "stop_sequence": None,
    }  # fmt: skip


def message_usage() -> dict[str, Any]:
    return {
        "input_tokens": USAGE["given"] - USAGE["cached"],
        "cache_read_input_tokens": USAGE["cached"],
        "cache_creation_input_tokens": 0,
        "output_tokens": USAGE["made"],
    }


def chat_usage() -> dict[str, Any]:
    return {
        "prompt_tokens": USAGE["given"],
        "completion_tokens": USAGE["made"],
        "total_tokens": USAGE["given"] + USAGE["made"],
        "prompt_tokens_details": {"cached_tokens": USAGE["cached"]},
        "completion_tokens_details": {"reasoning_tokens": USAGE["reasoning"]},
    }


def response(text: str, fault: str) -> dict[str, Any]:
    part = {"type": "output_text", "text": text, "annotations": []}
    if fault == "refuse":
        part = {"type": "refusal", "refusal": text}
    items = [{"type": "message", "id": "i", "role": "assistant", "status": "completed", "content": [part]}]
    usage = {
        "input_tokens": USAGE["given"],
        "output_tokens": USAGE["made"],
        "total_tokens": USAGE["given"] + USAGE["made"],
        "input_tokens_details": {"cached_tokens": USAGE["cached"]},
        "output_tokens_details": {"reasoning_tokens": USAGE["reasoning"]},
    }
    short = fault == "truncate"
    return {
        "id": "r", "object": "response", "created_at": 0, "model": "m", "output": items if text else [],
        "status": "incomplete" if short else "completed", "usage": usage, "parallel_tool_calls": True,
        "incomplete_details": {"reason": "max_output_tokens"} if short else None,
        "tool_choice": "auto", "tools": [],
    }  # fmt: skip


def sse(data: Any, event: str | None = None) -> str:
    return (f"event: {event}\n" if event else "") + f"data: {json.dumps(data, ensure_ascii=False)}\n\n"


def stream_of(path: str, text: str, fault: str) -> Any:
    """The same reply as a stream of events."""
    whole = final(path, text, fault)
    if path.endswith("/messages"):
        yield from message_events(whole)
    elif path.endswith("/responses"):
        yield from response_events(whole)
    else:
        yield from chat_events(whole)


def message_events(whole: dict[str, Any]) -> Any:
    usage = whole.pop("usage")
    begin = message(None, []) | {"usage": usage | {"output_tokens": 1}}
    yield sse({"type": "message_start", "message": begin}, "message_start")
    for n, block in enumerate(whole["content"]):
        start = {"type": "content_block_start", "index": n, "content_block": {"type": "text", "text": ""}}
        yield sse(start, "content_block_start")
        for piece in pieces(block["text"]):
            delta = {"type": "content_block_delta", "index": n, "delta": {"type": "text_delta", "text": piece}}
            yield sse(delta, "content_block_delta")
        yield sse({"type": "content_block_stop", "index": n}, "content_block_stop")
    delta = {"stop_reason": whole["stop_reason"], "stop_sequence": None}
    yield sse({"type": "message_delta", "delta": delta, "usage": {"output_tokens": USAGE["made"]}}, "message_delta")
    yield sse({"type": "message_stop"}, "message_stop")


def response_events(whole: dict[str, Any]) -> Any:
    begin = whole | {"status": "in_progress", "output": [], "usage": None}
    yield sse({"type": "response.created", "sequence_number": 0, "response": begin}, "response.created")
    for item in whole["output"]:
        for piece in pieces(item["content"][0].get("text", "")):
            delta = {"type": "response.output_text.delta", "item_id": "i", "output_index": 0, "content_index": 0}
            yield sse(delta | {"delta": piece, "sequence_number": 1, "logprobs": []}, "response.output_text.delta")
    end = f"response.{whole['status']}"
    yield sse({"type": end, "sequence_number": 2, "response": whole}, end)


def chat_events(whole: dict[str, Any]) -> Any:
    frame = {"id": "c", "object": "chat.completion.chunk", "created": 0, "model": "m"}
    choice = whole["choices"][0]
    for field in ("content", "refusal"):
        for piece in pieces(choice["message"][field] or ""):
            yield sse(frame | {"choices": [{"index": 0, "delta": {field: piece}, "finish_reason": None}]})
    yield sse(frame | {"choices": [{"index": 0, "delta": {}, "finish_reason": choice["finish_reason"]}]})
    yield sse(frame | {"choices": [], "usage": whole["usage"]})
    yield "data: [DONE]\n\n"


def inner_error(path: str) -> str:
    """An error inside a stream that had begun."""
    error = {"type": "overloaded_error", "code": "server_error", "message": "injected inside the stream"}
    if path.endswith("/responses"):
        return sse({"type": "error", "code": "server_error", "message": "injected", "sequence_number": 9}, "error")
    return sse({"type": "error", "error": error}, "error")


def pieces(text: str) -> list[str]:
    return [text[n : n + 16] for n in range(0, len(text), 16)]
