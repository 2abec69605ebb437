"""Make the interpreter's memory strict: an access outside the tensors of its launch is an error.

A load that is masked off without `other` gives NaN.  Importing this module imports Triton; see
`kopt.device.interpret.patch`.  `Any` stands for the interpreter's builders, blocks and masks: Triton ships no types.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from triton.runtime import interpreter

from kopt.device.interpret import numbers
from kopt.device.interpret.arithmetic import is_bfloat16
from kopt.device.interpret.session import OutOfBounds, Session, Unsupported

Builder = interpreter.InterpreterBuilder
Handle = interpreter.TensorHandle


def install_memory(session: Session) -> None:
    """Patch loads, stores and atomic operations of this process's interpreter to report to `session`."""
    load, store = Builder.create_masked_load, Builder.create_masked_store
    swap, modify = Builder.create_atomic_cas, Builder.create_atomic_rmw

    def strict_load(self: Any, pointers: Any, mask: Any, other: Any, *options: Any, **named: Any) -> Any:
        addresses = _check_bounds(session, self, "load", pointers, _mask(mask))
        _note_volatile(session, [*options, *named.values()])
        if session.races is not None and addresses.size:
            session.races.load(_program(self), addresses)
        if other is None and not _mask(mask).all():
            element = pointers.get_element_ty()
            values = numbers.masked_off(pointers.data.shape, interpreter._get_np_dtype(element), element.name)
            other = Handle(values, element)
        return load(self, pointers, mask, other, *options, **named)

    def strict_store(self: Any, pointers: Any, value: Any, mask: Any, *options: Any, **named: Any) -> Any:
        addresses = _check_bounds(session, self, "store", pointers, _mask(mask))
        _note_stores(session, addresses)
        if session.races is not None and addresses.size:
            present = load(self, pointers, mask, None, None, None, False)
            session.races.store(_program(self), addresses.reshape(-1), _differs(present.data, value.data, _mask(mask)))
        return store(self, pointers, value, mask, *options, **named)

    def strict_swap(self: Any, pointers: Any, *rest: Any) -> Any:
        _check_bounds(session, self, "atomic", pointers, np.ones_like(pointers.data, dtype=bool))
        _note_volatile(session, [True])
        return swap(self, pointers, *rest)

    def strict_modify(self: Any, operation: Any, pointers: Any, value: Any, mask: Any, *rest: Any) -> Any:
        _check_bounds(session, self, "atomic", pointers, _mask(mask))
        _note_volatile(session, [True])
        if is_bfloat16(value):
            raise Unsupported("the interpreter has no atomic operations on bfloat16")
        return modify(self, operation, pointers, value, mask, *rest)

    Builder.create_masked_load, Builder.create_masked_store = strict_load, strict_store
    Builder.create_atomic_cas, Builder.create_atomic_rmw = strict_swap, strict_modify


def _mask(mask: Any) -> Any:
    """Return a mask as truth values; the interpreter makes numbers of the mask of a scalar and a block."""
    return np.asarray(mask.data).astype(bool, copy=False)


def _differs(present: Any, new: Any, mask: Any) -> Any:
    """Return, for each element of a store that is not masked off, whether it changes memory; NaN over NaN does not."""
    differs = np.broadcast_to((present != new) & ((present == present) | (new == new)), present.shape)
    return differs[np.broadcast_to(mask, present.shape)]


def _program(builder: Any) -> int:
    """Return the number of the running program in its grid."""
    (x, y, z), (_, rows, planes) = builder.grid_idx, builder.grid_dim
    return int((x * rows + y) * planes + z)


def _note_volatile(session: Session, options: list[Any]) -> None:
    """Note an atomic operation or a volatile load (`volatile` is the only boolean option): both order programs."""
    launch = session.call.launch if session.call is not None else None
    if launch is not None and any(option is True for option in options):
        launch.synchronised = True


def _note_stores(session: Session, addresses: Any) -> None:
    launch = session.call.launch if session.call is not None else None
    if launch is None or not addresses.size:
        return
    low, high = int(addresses.min()), int(addresses.max())
    launch.stored |= {(start, end) for start, end in session.ranges if start <= high and low < end}


def _check_bounds(session: Session, builder: Any, access: str, pointers: Any, mask: Any) -> Any:
    """Return the addresses of an access that are not masked off.

    Raises:
        OutOfBounds: one lies outside every tensor of the launch.
    """
    addresses = pointers.data if mask.all() else pointers.data[np.broadcast_to(mask, pointers.data.shape)]
    if not addresses.size:
        return addresses
    width = max(1, pointers.get_element_ty().primitive_bitwidth // 8)
    low, high = int(addresses.min()), int(addresses.max()) + width
    if any(start <= low and high <= end for start, end in session.ranges):
        return addresses
    inside = np.zeros(addresses.shape, dtype=bool)
    for start, end in session.ranges:
        inside |= (addresses >= start) & (addresses + np.uint64(width) <= end)
    if not inside.all():
        raise OutOfBounds(
            f"{int((~inside).sum())} of {addresses.size} addresses of a {access} lie outside every tensor that the "
            f"kernel was given (program {builder.grid_idx}): a mask or a bound is missing"
        )
    return addresses
