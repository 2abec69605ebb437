"""While the interpreter judges a candidate, torch computes nothing: only its kernels do.

The CPU stage refuses torch's own computing on fake tensors; a candidate that tells those from real ones behaves there
and shows itself here.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor
from torch.utils._pytree import tree_leaves

from kopt.device.build.hostops import kind_of
from kopt.device.interpret.session import SESSION
from kopt.device.reference.dispatch import DispatchMode
from kopt.device.reference.rejection import Rejected
from kopt.model.build import Phase

FEW = 64
"""Operands up to this size are taken for arithmetic on the host; a result made of such is found by the replay."""


class NoComputing(DispatchMode):
    """Refuses operations that compute, and any in a kernel; `violation` stands even if the candidate caught it."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.violation: Rejected | None = None

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Run one operation, or refuse it."""
        kwargs = kwargs or {}
        if SESSION.place == "interpreter" or func.namespace == "prim":
            return func(*args, **kwargs)
        kind = kind_of(func)
        if SESSION.place == "kernel":
            self._refuse(f"torch is called in a kernel: {func}")
        if kind is None and any(isinstance(one, Tensor) and one.numel() > FEW for one in tree_leaves((args, kwargs))):
            self._refuse(f"torch computes with a device tensor: {func}; the Triton kernel is to do that")
        result = func(*args, **kwargs)
        if SESSION.record is not None:
            SESSION.record.host(kind, func, args, kwargs, result)
        return result

    def _refuse(self, what: str) -> None:
        self.violation = self.violation or Rejected(Phase.FALLBACK, what)
        raise self.violation
