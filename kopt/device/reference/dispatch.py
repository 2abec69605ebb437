"""The base of our dispatch modes, which see every aten operation of the code that runs under them."""

from __future__ import annotations

from torch.utils._python_dispatch import TorchDispatchMode


class DispatchMode(TorchDispatchMode):
    """A dispatch mode under which nothing is compiled by `torch.compile`.

    torch keeps its compiler out of such a mode, and imports all of it to do so, which takes seconds in every process;
    here it is told that it need not.
    """

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False
