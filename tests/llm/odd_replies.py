"""Replies in shapes that servers send and that no protocol's page shows.  Only the standard library."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from wire_replies import final, message_events, message_usage, response_events, sse

ODD = ("list", "unsaid", "nocount", "json", "thought", "unread", "unknown", "late502", "late429", "latefilter")


def odd(path: str, text: str, fault: str, limit: int) -> dict[str, Any]:
    """Return a body in an odd shape; its usage is all that the request allows, so that each call costs the most."""
    if fault in ("late502", "late429"):
        return {"error": {"message": "from behind the gateway", "code": int(fault[4:])}}
    if fault == "latefilter":
        return {"error": {"message": "filtered", "code": "content_filter"}, "usage": None}
    whole = final(path, text, "ok")
    used = "output_tokens" if "output_tokens" in whole["usage"] else "completion_tokens"
    whole["usage"] = {name: value for name, value in whole["usage"].items() if name != "total_tokens"} | {used: limit}
    if fault == "nocount":
        return whole | {"usage": None}
    if fault in ("unread", "unknown"):
        return {"reply": text} | ({"usage": whole["usage"]} if fault == "unread" else {})
    if fault == "unsaid":
        whole["usage"][used] = 20
        return unsaid(path, whole)
    return thought(path, whole) if fault == "thought" else listed(path, whole, text) if fault == "list" else whole


def unsaid(path: str, whole: dict[str, Any]) -> dict[str, Any]:
    """Return a body without the reason why the model stopped."""
    if path.endswith("/completions"):
        whole["choices"][0]["finish_reason"] = None
    return whole | ({"stop_reason": None} if path.endswith("/messages") else {"status": None})


def listed(path: str, whole: dict[str, Any], text: str) -> dict[str, Any]:
    """Return a body whose text is a list where it should be plain, or plain where it should be a list."""
    if path.endswith("/messages"):
        return whole | {"content": text}
    if path.endswith("/responses"):
        return whole | {"output": [{"type": "reasoning", "summary": []}, {"type": "message", "content": text}]}
    thinking = {"type": "thinking", "thinking": [{"type": "text", "text": "```python\ndraft = 1\n```"}]}
    whole["choices"][0]["message"]["content"] = [thinking, {"type": "text", "text": text}]
    return whole


def thought(path: str, whole: dict[str, Any]) -> dict[str, Any]:
    """Return a body whose whole output is reasoning that its limit cut off."""
    if path.endswith("/messages"):
        return whole | {"content": [{"type": "thinking", "thinking": "hm"}], "stop_reason": "max_tokens"}
    if path.endswith("/responses"):
        short = {"status": "incomplete", "incomplete_details": {"reason": "max_output_tokens"}}
        return whole | {"output": [{"type": "reasoning", "summary": []}]} | short
    whole["choices"] = [{"message": {"content": None, "reasoning_content": "hm"}, "finish_reason": "length"}]
    return whole


def odd_stream(path: str, text: str, fault: str, limit: int) -> Iterator[str]:
    """Yield the same as a stream of events."""
    whole = odd(path, text, fault, limit)
    if "error" in whole:
        named = {"type": "error", "error": whole["error"]} if path.endswith("/messages") else whole
        yield sse(named, "error" if path.endswith("/messages") else None)
    elif fault in ("unread", "unknown"):
        yield sse({"type": "reply", "choices": None} | whole, "reply")
        yield "data: [DONE]\n\n"
    elif path.endswith("/messages"):
        yield from odd_message_events(whole)
    elif path.endswith("/responses"):
        begin = final(path, text, "ok")
        for event in response_events(begin):
            if '"response.completed"' not in event:
                yield event
        yield sse({"type": f"response.{whole['status'] or 'completed'}", "response": whole})
    else:
        yield from odd_chat_events(whole)


def odd_message_events(whole: dict[str, Any]) -> Iterator[str]:
    content, usage, stop = whole["content"], whole["usage"], whole["stop_reason"]
    blocks = content if isinstance(content, list) else [{"type": "text", "text": content}]
    kept = [block for block in blocks if block["type"] == "text"]
    for event in message_events(whole | {"content": kept, "usage": message_usage()}):
        if '"message_delta"' not in event:
            yield event
        else:
            counted = {"usage": {"output_tokens": usage["output_tokens"]}} if usage else {}
            yield sse({"type": "message_delta", "delta": {"stop_reason": stop}} | counted, "message_delta")


def odd_chat_events(whole: dict[str, Any]) -> Iterator[str]:
    choice = whole["choices"][0]
    content = choice["message"]["content"]
    for piece in content if isinstance(content, list) else [content]:
        delta = {"content": [piece] if isinstance(piece, dict) else piece}
        yield sse({"choices": [{"index": 0, "delta": delta, "finish_reason": None}]})
    yield sse(
        {"choices": [{"index": 0, "delta": {"reasoning_content": "hm"}, "finish_reason": choice["finish_reason"]}]}
    )
    yield sse({"choices": [], "usage": whole["usage"]})
    yield "data: [DONE]\n\n"
