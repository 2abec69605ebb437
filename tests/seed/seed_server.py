"""The fault-injecting server of tests/llm with first kernels for replies, started as a process of its own.

The reference says what a reply holds: `say-wrong` and `say-no-code` first what they name, and a right kernel once the
prompt shows an error, `say-never` a wrong kernel always, `say-right` a right one.
"""

from __future__ import annotations

import asyncio
import json
from typing import Any

import fault_server

RIGHT = """import torch
import triton
import triton.language as tl


@triton.jit
def double_kernel(x, y, n, BLOCK: tl.constexpr):
    at = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    tl.store(y + at, 2.0 * tl.load(x + at, mask=at < n), mask=at < n)


def kernel_function(x):
    y = torch.empty_like(x)
    double_kernel[(triton.cdiv(x.numel(), 256),)](x, y, x.numel(), BLOCK=256)
    return y
"""
WRONG = RIGHT.replace("2.0 *", "3.0 *")


def reply(kernel: str) -> str:
    """A model's words around a kernel."""
    return f"It doubles each element.\n\n```python\n{kernel}```\n"


class Server(fault_server.Server):
    """Serves first kernels; notes whether a prompt shows the error and the draft of the reply before it."""

    def text(self, body: dict[str, Any], path: str) -> str:
        whole = json.dumps(body)
        repairs = "## Error" in whole
        self.note(event="asked", slot="", repairs=repairs, draft="3.0 *" in whole, reference="x + x" in whole)
        if "say-never" in whole or ("say-wrong" in whole and not repairs):
            return reply(WRONG)
        return "I cannot do that." if "say-no-code" in whole and not repairs else reply(RIGHT)


if __name__ == "__main__":
    asyncio.run(fault_server.main(Server))
