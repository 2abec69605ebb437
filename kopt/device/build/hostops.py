"""Log the operations of torch around the launches by kind, and refuse those that compute.

A candidate may use torch for views, allocations, fills and copies (casts, concatenation and constant padding among
them).  With any other operation torch would do the work of the kernel.
"""

from __future__ import annotations

from typing import Any, Literal, TypeGuard

import torch
from torch.utils._pytree import tree_leaves

from kopt.device.build.trace_log import TraceLog, layout
from kopt.device.reference.dispatch import DispatchMode
from kopt.device.reference.layout import dtype_name
from kopt.device.reference.rejection import torch_computes_reason
from kopt.model.build import HostOp

Kind = Literal["view", "allocation", "fill", "copy"]

_NAMES: dict[Kind, str] = {
    "view": "alias detach lift lift_fresh view _unsafe_view _reshape_alias expand permute t transpose squeeze "
    "unsqueeze",
    "allocation": "empty empty_like empty_strided empty_permuted new_empty new_empty_strided",
    "fill": "zeros zeros_like new_zeros ones ones_like new_ones full full_like new_full fill fill_ zero zero_ "
    "scalar_tensor arange",
    "copy": "clone copy copy_ _to_copy lift_fresh_copy cat constant_pad_nd repeat",
}
KINDS: dict[str, Kind] = {f"aten::{name}": kind for kind, names in _NAMES.items() for name in names.split()}
"""Kinds of operations by the name of their schema; an operation that is not here and no view computes."""


class HostOps(DispatchMode):
    """Log the operations on device tensors."""

    def __init__(self, log: TraceLog) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # torch does not type it
        self._log = log

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Run one operation and log it, or refuse it.  `Any`: the signature is torch's."""
        kwargs = kwargs or {}
        inputs = tree_leaves((args, kwargs))
        if func.namespace != "prim" and kind_of(func) is None and any(_on_device(value) for value in inputs):
            self._log.forbid(torch_computes_reason(func, self._log.language))
        results = func(*args, **kwargs)
        outputs = tree_leaves(results)
        if func.namespace != "prim" and any(_on_device(value) for value in (*inputs, *outputs)):
            self._add(func, inputs, outputs)
        return results

    def _add(self, func: Any, inputs: list[object], outputs: list[object]) -> None:
        name = str(func)
        if any(_on_device(value) for value in inputs) and any(_elsewhere(value) for value in outputs):
            self._log.forbid(f"{name} moves data from the device to the host")
        kind = kind_of(func)
        if kind is None:
            self._log.forbid(f"torch makes device data: {name}")
        tensors = [value for value in inputs if isinstance(value, torch.Tensor)]
        touched = [*tensors, *(value for value in outputs if _on_device(value))] if kind in ("fill", "copy") else []
        scalars = [value for value in inputs if not isinstance(value, torch.Tensor)]
        self._log.add_host_op(
            HostOp(
                name=name,
                shapes=tuple(tuple(map(int, tensor.shape)) for tensor in tensors),
                dtypes=tuple(dtype_name(tensor.dtype) for tensor in tensors),
                kind=kind,
                pointers=tuple(f"{self._log.pointer(tensor)} {layout(tensor)}" for tensor in touched),
                scalars=tuple(repr(value) for value in scalars),
                before=self._log.calls,
            )
        )


def kind_of(func: Any) -> Kind | None:
    """Return the kind of a torch operation (an `OpOverload`); None for one that computes."""
    kind = KINDS.get(func._schema.name)
    return kind or ("view" if func.is_view else None)


def _on_device(value: object) -> TypeGuard[torch.Tensor]:
    return isinstance(value, torch.Tensor) and value.device.type == "cuda"


def _elsewhere(value: object) -> bool:
    return isinstance(value, torch.Tensor) and value.device.type != "cuda"
