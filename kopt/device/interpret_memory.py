"""The interpreter's memory as on a GPU, and stricter: accesses stay inside what the launch was given.

A load that is masked off without `other` gives NaN.  Importing this module imports Triton; see
`kopt.device.interpret_patch`.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from triton.runtime import interpreter

from kopt.device import interpret_numbers as numbers
from kopt.device.interpret_arithmetic import is_bfloat16
from kopt.device.interpret_session import SESSION, OutOfBounds, Unsupported

Builder = interpreter.InterpreterBuilder
Handle = interpreter.TensorHandle


def install_memory() -> None:
    """Change the interpreter of this process."""
    load, store = Builder.create_masked_load, Builder.create_masked_store
    swap, modify = Builder.create_atomic_cas, Builder.create_atomic_rmw

    def strict_load(self: Any, pointers: Any, mask: Any, other: Any, *options: Any, **named: Any) -> Any:
        _check_bounds(self, "load", pointers, np.asarray(mask.data))
        if other is None and not np.asarray(mask.data).all():
            element = pointers.get_element_ty()
            values = numbers.poison(pointers.data.shape, interpreter._get_np_dtype(element), element.name)
            other = Handle(values, element)
        return load(self, pointers, mask, other, *options, **named)

    def strict_store(self: Any, pointers: Any, value: Any, mask: Any, *options: Any, **named: Any) -> Any:
        _check_bounds(self, "store", pointers, np.asarray(mask.data))
        return store(self, pointers, value, mask, *options, **named)

    def strict_swap(self: Any, pointers: Any, *rest: Any) -> Any:
        _check_bounds(self, "atomic", pointers, np.ones_like(pointers.data, dtype=bool))
        return swap(self, pointers, *rest)

    def strict_modify(self: Any, operation: Any, pointers: Any, value: Any, mask: Any, *rest: Any) -> Any:
        _check_bounds(self, "atomic", pointers, mask.data)
        if is_bfloat16(value):
            raise Unsupported("the interpreter has no atomic operations on bfloat16")
        return modify(self, operation, pointers, value, mask, *rest)

    Builder.create_masked_load, Builder.create_masked_store = strict_load, strict_store
    Builder.create_atomic_cas, Builder.create_atomic_rmw = strict_swap, strict_modify


def _check_bounds(builder: Any, what: str, pointers: Any, mask: Any) -> None:
    addresses = pointers.data if mask.all() else pointers.data[np.broadcast_to(mask, pointers.data.shape)]
    if not addresses.size:
        return
    width = max(1, pointers.get_element_ty().primitive_bitwidth // 8)
    low, high = int(addresses.min()), int(addresses.max()) + width
    if any(start <= low and high <= end for start, end in SESSION.ranges):
        return
    inside = np.zeros(addresses.shape, dtype=bool)
    for start, end in SESSION.ranges:
        inside |= (addresses >= start) & (addresses + np.uint64(width) <= end)
    if not inside.all():
        raise OutOfBounds(
            f"{int((~inside).sum())} of {addresses.size} addresses of a {what} lie outside every tensor that the "
            f"kernel was given (program {builder.grid_idx}): a mask or a bound is missing"
        )
