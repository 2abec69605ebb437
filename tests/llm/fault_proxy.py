"""A proxy that stands before a model server and spoils some of its calls, started by tests as a process of its own.

Only the standard library.  It binds to 127.0.0.1, prints its port, and ends when its standard input closes.  What
happens to a call is drawn from the seed, its slot, path and number, the same in every run.  An answer is taken from the
server as a whole before any of it is passed on, so that the log knows what the server served: `arrived` for each call,
`served` for each whole answer with status 200 that came from the server, `delivered` for each that was passed on whole.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import re
import time
from pathlib import Path
from typing import Any

from serving import serve

SLOT = re.compile(rb"slot-\d+")
MADE = re.compile(rb'"(?:output|completion)_tokens": ?(\d+)')
CHUNK = re.compile(rb"\r\n[0-9a-fA-F]+\r\n")
BEFORE = ("drop", "429", "500", "529")
"""Faults of a call that the server never sees."""
AFTER = ("lost", "cut")
"""Faults of a call that the server answers: nothing of it is passed on, or its first half."""
SLOW = "slow"
RETRY_AFTER_S = 0.05


class Proxy:
    def __init__(self, options: argparse.Namespace) -> None:
        self.options = options
        self.calls: dict[tuple[str, str], int] = {}
        self.log = Path(options.log).open("a", buffering=1)  # noqa: SIM115  closed with the process

    def note(self, **event: Any) -> None:
        self.log.write(json.dumps(event | {"time": time.monotonic()}) + "\n")

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while await self.serve_call(reader, writer):
                pass
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    async def serve_call(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """Take one call; return whether another may follow on this connection."""
        line, headers = headers_of(await reader.readuntil(b"\r\n\r\n"))
        body = await reader.readexactly(int(headers.get("content-length", 0)))
        path = line.split(" ")[1]
        call = self.identify(path, body)
        fault = self.fault(call)
        self.note(event="arrived", fault=fault, **call)
        if fault == "drop":
            writer.transport.abort()
            return False
        if fault in BEFORE:
            await send(writer, refusal(fault))
            return True
        answer = await self.forwarded(line, headers, body)
        served = {"made": int((MADE.findall(CHUNK.sub(b"", answer)) or [b"-1"])[-1]), **call}
        if answer.startswith(b"HTTP/1.1 200") and is_whole(answer):
            self.note(event="served", **served)
        if fault in AFTER:
            await send(writer, answer[: len(answer) // 2] if fault == "cut" else b"")
            writer.transport.abort()
            return False
        self.note(event="delivered", **served)  # before the last byte, so that whoever has the reply finds the line
        await send(writer, answer, pieces=5 if fault == SLOW else 1)
        return False

    def identify(self, path: str, body: bytes) -> dict[str, Any]:
        slot = match[0].decode() if (match := SLOT.search(body)) else ""
        number = self.calls[slot, path] = self.calls.get((slot, path), 0) + 1
        return {"slot": slot, "path": path, "call": number}

    def fault(self, call: dict[str, Any]) -> str:
        draw = random.Random(f"{self.options.seed}/{call['slot']}/{call['path']}/{call['call']}")
        return draw.choice((*BEFORE, *AFTER, SLOW)) if draw.random() < self.options.rate else "none"

    async def forwarded(self, line: str, headers: dict[str, str], body: bytes) -> bytes:
        """Return all that the server answers to this call, on a connection of its own."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.options.upstream)
        kept = {name: value for name, value in headers.items() if name not in ("connection", "accept-encoding")}
        lines = [line, *(f"{name}: {value}" for name, value in kept.items()), "connection: close"]
        writer.write(("\r\n".join(lines) + "\r\n\r\n").encode() + body)
        answer = await reader.read(-1)
        writer.close()
        return answer


def headers_of(head: bytes) -> tuple[str, dict[str, str]]:
    line, *rest = head.decode().split("\r\n")
    return line, {name.lower(): value.strip() for name, _, value in (h.partition(":") for h in rest if h)}


def is_whole(answer: bytes) -> bool:
    """Whether an answer ends where its own framing says."""
    head, _, body = answer.partition(b"\r\n\r\n")
    _, headers = headers_of(head)
    if headers.get("transfer-encoding") == "chunked":
        return body.endswith(b"0\r\n\r\n")
    return len(body) == int(headers["content-length"])


def refusal(fault: str) -> bytes:
    kind = {"429": "rate_limit_error", "529": "overloaded_error"}.get(fault, "api_error")
    body = json.dumps({"type": "error", "error": {"type": kind, "message": f"injected {fault}"}}).encode()
    more = f"retry-after: {RETRY_AFTER_S}\r\n" if fault == "429" else ""
    head = f"HTTP/1.1 {fault} X\r\ncontent-type: application/json\r\n{more}content-length: {len(body)}\r\n\r\n"
    return head.encode() + body


async def send(writer: asyncio.StreamWriter, content: bytes, pieces: int = 1) -> None:
    size = max(1, -(-len(content) // pieces))
    for start in range(0, len(content), size):
        writer.write(content[start : start + size])
        await writer.drain()
        await asyncio.sleep(0.02 if pieces > 1 else 0)


async def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--log", required=True)
    parser.add_argument("--upstream", type=int, required=True)
    parser.add_argument("--rate", type=float, default=0.3)
    parser.add_argument("--seed", type=int, default=0)
    proxy = Proxy(parser.parse_args())
    await serve(proxy.serve)


if __name__ == "__main__":
    asyncio.run(main())
