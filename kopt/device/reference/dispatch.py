"""Provide the base of dispatch modes, which see every aten operation of the code that runs under them."""

from __future__ import annotations

from torch.utils._python_dispatch import TorchDispatchMode


class DispatchMode(TorchDispatchMode):
    """A dispatch mode that does not load torch's compiler.

    torch keeps its compiler out of a dispatch mode, and imports all of the compiler to do so, which takes seconds in
    every process.  `_should_skip_dynamo` lets torch skip this import.
    """

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False
