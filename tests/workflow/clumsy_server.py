"""The kernel server, whose every first proposal does not parse and whose repairs do, started as a process of its own.

The log has what a prompt tells of earlier rounds: `told` for each prompt that shows the lessons of a reflection, and
`repaired` for each that shows the error of the reply before it.
"""

from __future__ import annotations

import asyncio
from typing import Any

import fault_server
import kernel_server


class Server(kernel_server.Server):
    def text(self, body: dict[str, Any], path: str) -> str:
        prompt = fault_server.prompt_of(body)
        if kernel_server.REFLECTION["advice"][0] in prompt:
            self.note(event="told", slot="")
        if "## What failed" in prompt:
            self.note(event="repaired", slot="", error="invalid syntax" in prompt and "def broken(:" in prompt)
        answer = super().text(body, path)
        is_first = "## Kernel to improve" in prompt and "```python" in answer
        return answer.replace("```\n", "\n\ndef broken(:\n```\n") if is_first else answer


if __name__ == "__main__":
    asyncio.run(fault_server.main(Server))
