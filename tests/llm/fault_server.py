"""A local server that speaks the three protocols and fails on purpose, started by tests as a process of its own.

Only the standard library.  It binds to 127.0.0.1, prints its port, and ends when its standard input closes.  A prompt
may order its own faults: `[[429x2 drip]]` fails the first two calls of that prompt with 429 and the third as a drip.
Without orders, `--rate` draws faults by prompt and call number, the same in every run.  Each call is a line of `--log`.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import json
import random
import re
import time
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import Any

from odd_replies import ODD, odd, odd_stream
from serving import serve
from wire_replies import final, inner_error, stream_of

ORDERS = re.compile(r"\[\[(.*?)\]\]")
SLOT = re.compile(r"slot-\d+")
DRAWN = ("429", "429date", "500", "529", "cut", "garbage", "html", "early", "inner")
STATUS = {"400": 400, "429": 429, "429date": 429, "quota": 429, "500": 500, "529": 529, "409": 409, "filter": 400}
FINAL = {"ok", "refuse", "truncate", "empty"}
RENAMED = {
    "message": "Unsupported parameter: 'max_tokens'.", "type": "invalid_request_error", "param": "max_tokens",
    "code": "unsupported_parameter",
}  # fmt: skip
DELAYED = {
    "code": 429, "message": "Quota exceeded", "status": "RESOURCE_EXHAUSTED",
    "details": [{"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "0.3s"}],
}  # fmt: skip


class Server:
    def __init__(self, options: argparse.Namespace) -> None:
        self.options = options
        self.calls: dict[str, int] = {}
        self.files: dict[str, list[Any]] = {}
        self.log = Path(options.log).open("a", buffering=1)  # noqa: SIM115  closed with the process
        self.open = self.most_open = 0

    def note(self, **event: Any) -> None:
        self.log.write(json.dumps(event | {"time": time.monotonic()}) + "\n")

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.open += 1
        self.most_open = max(self.most_open, self.open)
        try:
            while await self.serve_call(reader, writer):
                pass
        except (ConnectionError, asyncio.IncompleteReadError, TimeoutError):
            pass
        finally:
            self.open -= 1
            writer.close()

    async def serve_call(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        line, *rest = head.split("\r\n")
        headers = {k.lower(): v.strip() for k, _, v in (h.partition(":") for h in rest if h)}
        body = await reader.readexactly(int(headers.get("content-length", 0)))
        method, path, _ = line.split(" ")
        key = headers.get("x-api-key") or headers.get("authorization", "").removeprefix("Bearer ")
        if self.options.key and key != self.options.key:
            error = {"type": "authentication_error", "message": f"incorrect key {key}; headers were {headers}"}
            return await self.json(writer, 401, {"type": "error", "error": error})
        if "batches" in path or "/files" in path:
            return await self.batch(writer, method, path, body)
        if method == "GET":
            return await self.listing(writer, path)
        return await self.call(writer, path, json.loads(body))

    async def call(self, writer: asyncio.StreamWriter, path: str, body: dict[str, Any]) -> bool:
        prompt = prompt_of(body)
        number = self.calls[prompt] = self.calls.get(prompt, 0) + 1
        slot = slot_of(prompt)
        fault = self.fault(prompt, number)
        self.note(event="arrived", slot=slot, call=number, fault=fault, path=path)
        await asyncio.sleep(self.options.latency)
        done = await self.answer(writer, path, body, fault, self.text(body, path))
        if fault in FINAL:
            self.note(event="served", slot=slot, call=number, fault=fault, path=path, most_open=self.most_open)
        return done

    async def listing(self, writer: asyncio.StreamWriter, path: str) -> bool:
        """Send the list of models, or what `--listing` gives in its place: a status, `html` or `hang`."""
        self.note(event="listed", path=path)
        instead = self.options.listing
        if instead.isdigit():
            return await self.json(writer, int(instead), error_body(instead))
        if instead:
            return await self.answer(writer, path, {}, instead, "")
        return await self.json(writer, 200, models(self.options.models.split(",")))

    def text(self, body: dict[str, Any], path: str) -> str:
        """Return what the model says to a request."""
        return answer_text(slot_of(prompt_of(body)))

    async def batch(self, writer: asyncio.StreamWriter, method: str, path: str, body: bytes) -> bool:
        """Serve both batch APIs: a batch has ended at the second poll, and fails prompts that say [[fail]]."""
        if method == "POST" and path.endswith("/files"):
            lines = [line for line in body.decode().splitlines() if line.startswith('{"body"')]
            return await self.json(writer, 200, file_of(self.put([json.loads(line) for line in lines])))
        if method == "POST":
            made = json.loads(body)
            name = made.get("input_file_id") or self.put(made["requests"])
            self.note(event="batch", requests=len(self.files[name]), path=path)
            return await self.json(writer, 200, state_of(name, path, ended=False))
        name = path.rstrip("/").split("/")[-2 if path.endswith(("/content", "/results")) else -1]
        if path.endswith(("/content", "/results")):
            answers = "".join(json.dumps(batch_line(item), ensure_ascii=False) + "\n" for item in self.files[name])
            return await self.send(writer, 200, "application/x-jsonl", answers.encode())
        self.calls[name] = self.calls.get(name, 0) + 1
        return await self.json(writer, 200, state_of(name, path, ended=self.calls[name] > self.options.looks))

    def put(self, items: list[Any]) -> str:
        name = f"file-{len(self.files)}"
        self.files[name] = items
        return name

    def fault(self, prompt: str, number: int) -> str:
        if orders := ORDERS.search(prompt):
            faults = [f for order in orders[1].split() for f in expand(order)]
            return faults[min(number, len(faults)) - 1] if number <= len(faults) or faults[-1] in FINAL else "ok"
        draw = random.Random(f"{self.options.seed}/{prompt}/{number}")
        return draw.choice(DRAWN) if draw.random() < self.options.rate else "ok"

    async def answer(
        self, writer: asyncio.StreamWriter, path: str, body: dict[str, Any], fault: str, text: str
    ) -> bool:
        if fault in STATUS:
            return await self.json(writer, STATUS[fault], error_body(fault), error_headers(fault))
        if fault == "renamed" and "max_tokens" in body:
            return await self.json(writer, 400, {"error": RENAMED})
        if fault == "quotadelay":
            return await self.json(writer, 429, [{"error": DELAYED}])
        if fault in ODD:
            limit = body.get("max_tokens") or body.get("max_output_tokens") or body.get("max_completion_tokens")
            if fault == "json" or not body.get("stream"):
                return await self.json(writer, 200, odd(path, text, fault, limit))
            writer.write(head_of(200, "text/event-stream", {"connection": "close"}))
            writer.write("".join(odd_stream(path, text, fault, limit)).encode())
            await writer.drain()
            return False
        if fault == "hang":
            await asyncio.sleep(60)
            return False
        if fault == "html":
            return await self.send(writer, 200, "text/html", b"<html><body>Bad gateway</body></html>")
        if not body.get("stream"):
            return await self.whole(writer, path, fault, text)
        await self.stream(writer, path, fault, text)
        return False

    async def whole(self, writer: asyncio.StreamWriter, path: str, fault: str, text: str) -> bool:
        if fault in ("garbage", "early", "inner"):
            return await self.send(writer, 200, "application/json", b'{"id": "x", "choices": [')
        content = json.dumps(final(path, text, fault), ensure_ascii=False).encode()
        if fault in ("cut", "drip"):
            writer.write(head_of(200, "application/json", {"content-length": str(len(content))}) + content[:40])
            await writer.drain()
            await asyncio.sleep(60 if fault == "drip" else 0)
            writer.transport.abort()
            return False
        return await self.send(writer, 200, "application/json", content)

    async def stream(self, writer: asyncio.StreamWriter, path: str, fault: str, text: str) -> None:
        writer.write(head_of(200, "text/event-stream", {"connection": "close"}))
        events = list(stream_of(path, text, fault))
        if fault in ("cut", "early", "garbage", "inner"):
            events = events[: max(2, len(events) // 2)]
        if fault == "garbage":
            events.append("data: {not json\n\n")
        if fault == "inner":
            events.append(inner_error(path))
        for event in events:
            for piece in event if fault == "drip" else (event,):
                writer.write(piece.encode())
                await writer.drain()
                await asyncio.sleep(0.3 if fault == "drip" else 0)
        if fault == "cut":
            writer.transport.abort()

    async def json(
        self, writer: asyncio.StreamWriter, status: int, body: Any, headers: dict[str, str] | None = None
    ) -> bool:
        return await self.send(writer, status, "application/json", json.dumps(body).encode(), headers)

    async def send(
        self, writer: asyncio.StreamWriter, status: int, kind: str, body: bytes, headers: dict[str, str] | None = None
    ) -> bool:
        writer.write(head_of(status, kind, {"content-length": str(len(body))} | (headers or {})) + body)
        await writer.drain()
        return True


def expand(order: str) -> list[str]:
    name, _, times = order.partition("x") if re.fullmatch(r"\w+x\d+", order) else (order, "", "1")
    return [name] * int(times)


def prompt_of(body: dict[str, Any]) -> str:
    """Return the last user turn's text, in any of the protocols."""
    content = (body.get("messages") or body.get("input"))[-1]["content"]
    return content if isinstance(content, str) else "".join(part["text"] for part in content)


def slot_of(prompt: str) -> str:
    """Return the name that a prompt gives its slot, or a short digest of the prompt."""
    return match[0] if (match := SLOT.search(prompt)) else hashlib.sha256(prompt.encode()).hexdigest()[:12]


def answer_text(slot: str) -> str:
    """Return a kernel; its prose holds U+2028, which ends no line in JSON Lines and event streams."""
    code = f"import triton\n\n\ndef kernel_function(x):\n    return {slot!r}\n"
    return f"Wider loads for {slot},\u2028as told.\n\n```python\n{code}```\n"


def file_of(name: str) -> dict[str, Any]:
    return {
        "id": name,
        "object": "file",
        "bytes": 1,
        "created_at": 0,
        "filename": "r",
        "purpose": "batch",
        "status": "ok",
    }


def state_of(name: str, path: str, *, ended: bool) -> dict[str, Any]:
    """Return a batch's state in the words of the provider whose path was asked."""
    if "/messages/" in path:
        counts = dict.fromkeys(("canceled", "errored", "expired", "processing", "succeeded"), 0)
        when = "2026-01-01T00:00:00Z"
        status = "ended" if ended else "in_progress"
        url = f"/v1/messages/batches/{name}/results" if ended else None
        return {
            "id": name, "type": "message_batch", "processing_status": status, "request_counts": counts,
            "created_at": when, "expires_at": when, "results_url": url,
        }  # fmt: skip
    return {
        "id": name, "object": "batch", "endpoint": "x", "input_file_id": name, "completion_window": "24h",
        "status": "completed" if ended else "in_progress", "created_at": 0, "output_file_id": name if ended else None,
    }  # fmt: skip


def batch_line(item: dict[str, Any]) -> dict[str, Any]:
    """Return the line of output for a line of input, of either provider."""
    body = item.get("params") or item["body"]
    failed = "[[fail]]" in prompt_of(body)
    text = answer_text(match[0] if (match := SLOT.search(prompt_of(body))) else "none")
    shape = next((shape for shape in ("unread", "unknown") if f"[[{shape}]]" in prompt_of(body)), "")
    if "params" in item:
        whole = odd("/v1/messages", text, shape, 20) if shape else final("/v1/messages", text, "ok")
        result = {"type": "errored", "error": {}} if failed else {"type": "succeeded", "message": whole}
        return {"custom_id": item["custom_id"], "result": result}
    whole = odd(item["url"], text, shape, 20) if shape else final(item["url"], text, "ok")
    response = {"status_code": 500 if failed else 200, "body": {} if failed else whole}
    return {"custom_id": item["custom_id"], "response": response, "error": None}


def models(names: list[str]) -> dict[str, Any]:
    data = [{"id": name, "type": "model", "object": "model", "created": 0, "owned_by": "t"} for name in names if name]
    return {"object": "list", "data": data, "has_more": False, "first_id": None, "last_id": None}


def error_body(fault: str) -> dict[str, Any]:
    kinds = {
        "quota": "insufficient_quota",
        "529": "overloaded_error",
        "filter": "content_policy_violation",
        "400": "invalid_request_error",
    }
    kind = kinds.get(fault, "server_error")
    return {"type": "error", "error": {"type": kind, "code": kind, "message": f"injected {fault}"}}


def error_headers(fault: str) -> dict[str, str]:
    if fault == "429":
        return {"retry-after": "0.05"}
    if fault == "429date":
        return {"retry-after": format_datetime(datetime.now(UTC) + timedelta(seconds=0.5), usegmt=True)}
    return {}


def head_of(status: int, kind: str, headers: dict[str, str]) -> bytes:
    lines = [f"HTTP/1.1 {status} X", f"content-type: {kind}", *(f"{k}: {v}" for k, v in headers.items())]
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


async def main(kind: type[Server] = Server) -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--log", required=True)
    parser.add_argument("--rate", type=float, default=0.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--latency", type=float, default=0.0)
    parser.add_argument("--key", default="")
    parser.add_argument("--models", default="m")
    parser.add_argument("--listing", default="")
    parser.add_argument("--looks", type=int, default=1)
    server = kind(parser.parse_args())
    await serve(server.serve)


if __name__ == "__main__":
    asyncio.run(main())
