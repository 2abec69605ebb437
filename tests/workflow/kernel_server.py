"""The fault-injecting server of tests/llm with replies that a search can use, started as a process of its own.

A proposal is the parent's source with another BLOCK; a diagnosis, a classification and a reflection answer in JSON.
The same prompt always has the same reply, and each protocol its own.  A proposal says as which slot and at which path
the log has its call.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import json
import math
import re
from pathlib import Path
from typing import Any

import fault_server

KERNEL = re.compile(r"## (?:Kernel to improve|Its parent, which is correct)\n```python\n(.*?)\n```", re.DOTALL)
COUNT = re.compile(r"Give exactly (\d+) directions")
TECHNIQUE = re.compile(r'\\"([a-z_0-9]+)\\": \{\\"present\\": true')
REFLECTION = {"worked": ["larger blocks"], "failed": [], "advice": ["try eight warps"]}


def answer(body: dict[str, Any], path: str) -> str:
    """What a model says to a request."""
    prompt = fault_server.prompt_of(body)
    if count := COUNT.search(prompt):
        return json.dumps({"directions": [direction(n) for n in range(int(count[1]))]})
    if technique := TECHNIQUE.search(json.dumps(body)):
        return json.dumps({technique[1]: {"present": True, "where": "def kernel_function(x):"}})
    if "what failed and why" in prompt:
        return json.dumps(REFLECTION)
    draw = int(hashlib.sha256(prompt.encode()).hexdigest(), 16)
    block = (256, 512) if path.endswith("/messages") else (2048, 4096)
    source = KERNEL.search(prompt)
    assert source is not None, prompt
    changed = re.sub(r"BLOCK=\d+", f"BLOCK={block[draw % 2]}", source[1])
    asked = f"[asked as {fault_server.slot_of(prompt)} at {path}]"
    return f"Another block size suits the rows better {asked}.\n\n```python\n{changed}\n```\n"


def direction(number: int) -> dict[str, Any]:
    return {
        "bottleneck": f"told_{number}", "cause": "the numbers", "direction": f"change block size {number}",
        "techniques": ["loop_unrolling"] if number else [],
    }  # fmt: skip


class Server(fault_server.Server):
    """Serves kernels; while a file beside the log, `allowed`, holds a number, no more calls than that in all."""

    def __init__(self, options: argparse.Namespace) -> None:
        super().__init__(options)
        self.allowed = Path(f"{options.log}.allowed")
        self.answered = 0
        self.readers: dict[asyncio.StreamWriter, asyncio.StreamReader] = {}

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.readers[writer] = reader
        await super().serve(reader, writer)

    async def answer(
        self, writer: asyncio.StreamWriter, path: str, body: dict[str, Any], fault: str, text: str
    ) -> bool:
        while self.answered >= self.limit():
            if self.readers[writer].at_eof():
                raise ConnectionResetError("whoever asked is gone")
            await asyncio.sleep(0.01)
        self.answered += 1
        try:
            return await super().answer(writer, path, body, fault, text)
        except ConnectionError:
            self.answered -= 1
            raise

    def limit(self) -> float:
        try:
            return int(self.allowed.read_text())
        except FileNotFoundError:
            return math.inf

    def text(self, body: dict[str, Any], path: str) -> str:
        return answer(body, path)


if __name__ == "__main__":
    asyncio.run(fault_server.main(Server))
