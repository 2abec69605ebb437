"""The fault-injecting server of tests/llm with replies that a search can use, started as a process of its own.

A proposal is the parent's source with another BLOCK; a diagnosis, a classification and a reflection answer in JSON.
The same prompt always has the same reply, and each protocol its own.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import re
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "llm"))

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
    return f"Another block size suits the rows better.\n\n```python\n{changed}\n```\n"


def direction(number: int) -> dict[str, Any]:
    return {
        "bottleneck": f"told_{number}", "cause": "the numbers", "direction": f"change block size {number}",
        "techniques": ["loop_unrolling"] if number else [],
    }  # fmt: skip


class Server(fault_server.Server):
    """Serves kernels."""

    def text(self, body: dict[str, Any], path: str) -> str:
        return answer(body, path)


if __name__ == "__main__":
    asyncio.run(fault_server.main(Server))
