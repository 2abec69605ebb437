"""Refuse torch operations that compute while a candidate is interpreted: only its kernels may compute.

The CPU stage refuses the same on fake tensors.  A candidate that recognises fake tensors can behave there;
it is caught here.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves

from kopt.device.build.hostops import kind_of
from kopt.device.interpret.interpreted_call import fill_otherwise, tensors_in
from kopt.device.interpret.session import Session
from kopt.device.reference.dispatch import DispatchMode
from kopt.device.reference.rejection import Rejected, torch_computes_reason
from kopt.model.build import Phase

FEW = 64
"""Tensors of up to this many elements may be computed with on the host; the replay finds results made of such."""


def fill_new_memory() -> None:
    """Have torch fill memory that it leaves uninitialised with NaN, or with the largest integer.

    This is `torch.use_deterministic_algorithms` without its import of the compiler, which takes a second.
    """
    torch._C._set_deterministic_algorithms(True, warn_only=True)
    torch._C._set_deterministic_fill_uninitialized_memory(True)


class NoComputing(DispatchMode):
    """Refuse operations that compute on the host, and any operation of torch in a kernel."""

    def __init__(self, session: Session) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # torch does not type it
        self._session = session
        self.violation: Rejected | None = None
        """The first refusal; it stands even if the candidate caught the exception."""

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """Run and record one operation, or refuse it.  `Any`: the signature is torch's."""
        kwargs = kwargs or {}
        if self._session.place == "interpreter" or func.namespace == "prim":
            return func(*args, **kwargs)
        kind = kind_of(func)
        if self._session.place == "kernel":
            self._refuse(f"torch is called in a kernel: {func}")
        operands = tree_leaves((args, kwargs))
        if kind is None and any(map(_has_values, operands)):
            self._refuse(torch_computes_reason(func, self._session.language))
        if kind == "allocation":
            fill_new_memory()  # the candidate may have turned it off
        result = func(*args, **kwargs)
        if kind == "allocation" and self._session.other_fill:
            for tensor in tensors_in(result):
                fill_otherwise(tensor)
        self._session.record_host_operation(kind, func, args, kwargs, result)
        return result

    def _refuse(self, reason: str) -> None:
        self.violation = self.violation or Rejected(Phase.FALLBACK, reason)
        raise self.violation


def _has_values(operand: object) -> bool:
    """Return whether an operand is a tensor to compute with: a meta tensor has no values, a small one stays allowed."""
    return isinstance(operand, Tensor) and not operand.is_meta and operand.numel() > FEW
