"""The interpreter's memory as on a GPU, and stricter: accesses stay inside what the launch was given.

A load that is masked off without `other` gives NaN.  Importing this module imports Triton; see
`kopt.device.interpret.patch`.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from triton.runtime import interpreter

from kopt.device.interpret import numbers
from kopt.device.interpret.arithmetic import is_bfloat16
from kopt.device.interpret.session import SESSION, OutOfBounds, Unsupported

Builder = interpreter.InterpreterBuilder
Handle = interpreter.TensorHandle


def install_memory() -> None:
    """Change the interpreter of this process."""
    load, store = Builder.create_masked_load, Builder.create_masked_store
    swap, modify = Builder.create_atomic_cas, Builder.create_atomic_rmw

    def strict_load(self: Any, pointers: Any, mask: Any, other: Any, *options: Any, **named: Any) -> Any:
        addresses = _checked(self, "load", pointers, _mask(mask))
        _note_volatile([*options, *named.values()])
        if SESSION.races is not None and addresses.size:
            SESSION.races.load(_program(self), addresses)
        if other is None and not _mask(mask).all():
            element = pointers.get_element_ty()
            values = numbers.poison(pointers.data.shape, interpreter._get_np_dtype(element), element.name)
            other = Handle(values, element)
        return load(self, pointers, mask, other, *options, **named)

    def strict_store(self: Any, pointers: Any, value: Any, mask: Any, *options: Any, **named: Any) -> Any:
        addresses = _checked(self, "store", pointers, _mask(mask))
        _note_stores(addresses)
        if SESSION.races is not None and addresses.size:
            present = load(self, pointers, mask, None, None, None, False)
            SESSION.races.store(_program(self), addresses.reshape(-1), _differs(present.data, value.data, _mask(mask)))
        return store(self, pointers, value, mask, *options, **named)

    def strict_swap(self: Any, pointers: Any, *rest: Any) -> Any:
        _checked(self, "atomic", pointers, np.ones_like(pointers.data, dtype=bool))
        _note_volatile([True])
        return swap(self, pointers, *rest)

    def strict_modify(self: Any, operation: Any, pointers: Any, value: Any, mask: Any, *rest: Any) -> Any:
        _checked(self, "atomic", pointers, _mask(mask))
        _note_volatile([True])
        if is_bfloat16(value):
            raise Unsupported("the interpreter has no atomic operations on bfloat16")
        return modify(self, operation, pointers, value, mask, *rest)

    Builder.create_masked_load, Builder.create_masked_store = strict_load, strict_store
    Builder.create_atomic_cas, Builder.create_atomic_rmw = strict_swap, strict_modify


def _mask(mask: Any) -> Any:
    """A mask as truth values; the interpreter makes numbers of what a scalar and a block hold together."""
    return np.asarray(mask.data).astype(bool, copy=False)


def _differs(present: Any, new: Any, mask: Any) -> Any:
    """Which elements of a store that are not masked off change what is there; NaN over NaN changes nothing."""
    differs = np.broadcast_to((present != new) & ((present == present) | (new == new)), present.shape)
    return differs[np.broadcast_to(mask, present.shape)]


def _program(builder: Any) -> int:
    """The program's number in its grid."""
    (x, y, z), (_, rows, planes) = builder.grid_idx, builder.grid_dim
    return int((x * rows + y) * planes + z)


def _note_volatile(options: list[Any]) -> None:
    """Atomic operations and volatile loads (the one option that is true or false) order programs."""
    if SESSION.record is not None and SESSION.record.launch is not None and any(one is True for one in options):
        SESSION.record.launch.synchronised = True


def _note_stores(addresses: Any) -> None:
    if SESSION.record is None or SESSION.record.launch is None or not addresses.size:
        return
    low, high = int(addresses.min()), int(addresses.max())
    SESSION.record.launch.stored |= {(start, end) for start, end in SESSION.ranges if start <= high and low < end}


def _checked(builder: Any, what: str, pointers: Any, mask: Any) -> Any:
    """The addresses of an access that are not masked off.

    Raises:
        OutOfBounds: one lies outside every tensor of the launch.
    """
    addresses = pointers.data if mask.all() else pointers.data[np.broadcast_to(mask, pointers.data.shape)]
    if not addresses.size:
        return addresses
    width = max(1, pointers.get_element_ty().primitive_bitwidth // 8)
    low, high = int(addresses.min()), int(addresses.max()) + width
    if any(start <= low and high <= end for start, end in SESSION.ranges):
        return addresses
    inside = np.zeros(addresses.shape, dtype=bool)
    for start, end in SESSION.ranges:
        inside |= (addresses >= start) & (addresses + np.uint64(width) <= end)
    if not inside.all():
        raise OutOfBounds(
            f"{int((~inside).sum())} of {addresses.size} addresses of a {what} lie outside every tensor that the "
            f"kernel was given (program {builder.grid_idx}): a mask or a bound is missing"
        )
    return addresses
