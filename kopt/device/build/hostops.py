"""What torch does around the launches: recorded, sorted into kinds, and refused where it computes.

Views, allocations, fills and copies (casts, concatenation and constant padding among them) are a launch's
surroundings.  Anything else would be torch doing the work that the kernel is to do.
"""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch.utils._pytree import tree_leaves

from kopt.device.build.trace_log import TraceLog, layout
from kopt.device.reference.dispatch import DispatchMode
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


class HostOps(DispatchMode):
    """Records the operations on device tensors."""

    def __init__(self, recorder: TraceLog) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._recorder = recorder

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Run one operation and record it."""
        kwargs = kwargs or {}
        inputs = tree_leaves((args, kwargs))
        if func.namespace != "prim" and kind_of(func) is None and any(_on_device(value) for value in inputs):
            self._recorder.forbid(f"torch computes with a device tensor: {func}; the Triton kernel is to do that")
        results = func(*args, **kwargs)
        outputs = tree_leaves(results)
        if func.namespace != "prim" and any(_on_device(value) for value in (*inputs, *outputs)):
            self._record(func, inputs, outputs)
        return results

    def _record(self, func: Any, inputs: list[Any], outputs: list[Any]) -> None:
        name = str(func)
        if any(_on_device(value) for value in inputs) and any(_elsewhere(value) for value in outputs):
            self._recorder.forbid(f"{name} moves data from the device to the host")
        kind = kind_of(func)
        if kind is None:
            self._recorder.forbid(f"torch makes device data: {name}")
        tensors = [value for value in inputs if isinstance(value, torch.Tensor)]
        touched = [*tensors, *(value for value in outputs if _on_device(value))] if kind in ("fill", "copy") else []
        scalars = [value for value in inputs if not isinstance(value, torch.Tensor)]
        self._recorder.host_op(
            HostOp(
                name=name,
                shapes=tuple(tuple(map(int, tensor.shape)) for tensor in tensors),
                dtypes=tuple(str(tensor.dtype).removeprefix("torch.") for tensor in tensors),
                kind=kind,
                pointers=tuple(f"{self._recorder.pointer(tensor)} {layout(tensor)}" for tensor in touched),
                scalars=tuple(repr(value) for value in scalars),
                before=self._recorder.calls,
            )
        )


def kind_of(func: Any) -> Kind | None:
    """What an operation does; None for computing."""
    known = KINDS.get(func._schema.name)
    return known or ("view" if func.is_view else None)


def _on_device(value: Any) -> bool:
    return isinstance(value, torch.Tensor) and value.device.type == "cuda"


def _elsewhere(value: Any) -> bool:
    return isinstance(value, torch.Tensor) and value.device.type != "cuda"
