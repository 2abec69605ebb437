"""While the interpreter judges a candidate, torch computes nothing: only its kernels do.

The CPU stage refuses torch's own computing on fake tensors; a candidate that tells those from real ones behaves there
and shows itself here.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor
from torch.utils._pytree import tree_leaves

from kopt.device.dispatch import DispatchMode
from kopt.device.hostops import kind_of
from kopt.device.interpret_session import SESSION
from kopt.device.rejection import Rejected
from kopt.model.build import Phase

FEW = 64
"""Operands up to this size are taken for arithmetic on the host, which does nobody's work."""


class NoComputing(DispatchMode):
    """Refuses operations that compute, outside of launches; `violation` stands even if the candidate caught it."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.violation: Rejected | None = None

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Run one operation, or refuse it."""
        kwargs = kwargs or {}
        if not SESSION.launching and func.namespace != "prim" and kind_of(func) is None:
            large = [one for one in tree_leaves((args, kwargs)) if isinstance(one, Tensor) and one.numel() > FEW]
            if large:
                what = f"torch computes with a device tensor: {func}; the Triton kernel is to do that"
                self.violation = self.violation or Rejected(Phase.FALLBACK, what)
                raise self.violation
        return func(*args, **kwargs)
