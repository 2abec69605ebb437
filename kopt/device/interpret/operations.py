"""Compute what the operations of TTIR compute, with NumPy: integers, floats, shapes, reductions and scans.

An operand may have fewer elements than its type says, as NumPy broadcasts: a dimension along which all elements are
equal can have size 1, and a block filled with one value can be a scalar.  `whole` broadcasts an operand where an
operation needs all of its elements.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from kopt.device.interpret import numbers
from kopt.device.interpret.numbers import Array, unsigned


def whole(value: Any, shape: Sequence[int]) -> Array:
    """Return a block with all of its elements."""
    shape = tuple(shape)
    if np.shape(value) == shape:
        return np.asarray(value)
    return np.broadcast_to(value, shape)


# --- integers ---------------------------------------------------------------------------------------------------------


def divide(a: Any, b: Any) -> Any:
    """Return the signed quotient towards zero; -1 where the divisor is 0, as a GPU gives."""
    safe = _without_zeros(b)
    floor = np.floor_divide(a, safe)
    towards_zero = floor + ((floor < 0) & (floor * safe != a)).astype(floor.dtype)
    return np.where(b == 0, towards_zero.dtype.type(-1), towards_zero)[()]


def remainder(a: Any, b: Any) -> Any:
    """Return the remainder of the signed quotient, with the sign of `a`; `a` where the divisor is 0."""
    return np.where(b == 0, a, np.fmod(a, _without_zeros(b)))[()]


def unsigned_divide(a: Any, b: Any) -> Any:
    """Return the unsigned quotient; the largest number, all of whose bits are set, where the divisor is 0."""
    a, b = unsigned(a), unsigned(b)
    quotient = np.floor_divide(a, _without_zeros(b))
    return _signed(np.where(b == 0, ~np.zeros_like(quotient), quotient)[()])


def unsigned_remainder(a: Any, b: Any) -> Any:
    """Return the remainder of the unsigned quotient; `a` where the divisor is 0."""
    a, b = unsigned(a), unsigned(b)
    return _signed(np.where(b == 0, a, np.remainder(a, _without_zeros(b)))[()])


def _without_zeros(divisor: Any) -> Array:
    """Return a divisor with 1 in the place of 0, by which NumPy would not divide."""
    return np.where(divisor == 0, 1, divisor).astype(_type(divisor))


def shift_left(a: Any, b: Any) -> Any:
    """Return `a` shifted left; 0 where it is shifted by its width or more."""
    width = 8 * _type(a).itemsize
    places = unsigned(b)
    return np.where(places >= width, 0, np.left_shift(a, np.minimum(places, width - 1).astype(_type(a)))).astype(
        _type(a)
    )[()]


def shift_right(a: Any, b: Any) -> Any:
    """Return `a` shifted right, filled with its sign."""
    width = 8 * _type(a).itemsize
    return np.right_shift(a, np.minimum(unsigned(b), width - 1).astype(_type(a)))


def unsigned_shift_right(a: Any, b: Any) -> Any:
    """Return `a` shifted right, filled with zeros."""
    bits = unsigned(a)
    width = 8 * bits.dtype.itemsize
    places = unsigned(b)
    return _signed(
        np.where(places >= width, 0, bits >> np.minimum(places, width - 1).astype(bits.dtype)).astype(bits.dtype)
    )


def high_half(a: Any, b: Any) -> Any:
    """Return the upper half of the unsigned product."""
    left, right = unsigned(a), unsigned(b)
    bits = 8 * left.dtype.itemsize
    if bits < 64:
        wide = np.dtype(f"u{left.dtype.itemsize * 2}")
        return _signed(((left.astype(wide) * right.astype(wide)) >> wide.type(bits)).astype(left.dtype))
    low = np.uint64(0xFFFFFFFF)
    half = np.uint64(32)
    a1, a0, b1, b0 = left >> half, left & low, right >> half, right & low
    middle = a1 * b0 + (a0 * b0 >> half)
    other = a0 * b1 + (middle & low)
    return _signed(a1 * b1 + (middle >> half) + (other >> half))


def compare_unsigned(function: Callable[[Any, Any], Any], a: Any, b: Any) -> Any:
    """Compare as unsigned integers."""
    return function(unsigned(a), unsigned(b))


def unsigned_of(function: Callable[[Any, Any], Any], a: Any, b: Any) -> Any:
    """Apply a function to unsigned integers and return the result as signed ones."""
    return _signed(function(unsigned(a), unsigned(b)))


def widen(a: Any, target: str, signed: bool) -> Any:
    """Return integers extended to a wider type: by their sign, or by zeros where they are not signed."""
    value = np.asarray(a)
    wanted = numbers.held(target)
    if value.dtype == np.bool_:
        return (-value.astype(wanted) if signed else value.astype(wanted))[()]
    return (value if signed else unsigned(value)).astype(wanted)[()]


def narrow(a: Any, target: str) -> Any:
    """Return integers of a narrower type: the low bits."""
    if target == "i1":
        return (np.asarray(a) & 1).astype(np.bool_)[()]
    return np.asarray(a).astype(numbers.held(target))[()]


def _signed(values: Any) -> Any:
    values = np.asarray(values)
    return values.view(f"i{values.dtype.itemsize}")[()]


def _type(values: Any) -> np.dtype[Any]:
    return np.asarray(values).dtype


# --- floats -----------------------------------------------------------------------------------------------------------


def from_integer(a: Any, target: str, signed: bool) -> Any:
    """Return integers as floats; narrow types are rounded from float32, as a GPU does."""
    value = np.asarray(a)
    if value.dtype == np.bool_:
        value = -value.astype(np.int32) if signed else value.astype(np.int32)
    elif not signed:
        value = unsigned(value)
    if target in numbers.NATIVE:
        return value.astype(numbers.held(target))[()]
    return numbers.rounded(value.astype(np.float32), target)


def fused(a: Any, b: Any, c: Any) -> Any:
    """Return `a * b + c`, rounded once where the type is float32 or narrower."""
    dtype = np.result_type(a, b, c)
    if dtype == np.float64:
        return a * b + c
    wide = np.multiply(a, b, dtype=np.float64) + np.asarray(c, dtype=np.float64)
    return np.asarray(wide).astype(dtype)[()]


def clamp(x: Any, low: Any, high: Any, propagate: bool) -> Any:
    """Return x between two bounds; NaN becomes the lower bound unless it is propagated."""
    if propagate:
        return np.where(np.isnan(x), x, np.fmin(np.fmax(x, low), high))[()]
    return np.fmin(np.fmax(x, low), high)


COMPARISONS: dict[int, Callable[[Any, Any], Any]] = {
    0: lambda a, b: np.zeros(np.broadcast_shapes(np.shape(a), np.shape(b)), np.bool_)[()],
    1: np.equal, 2: np.greater, 3: np.greater_equal, 4: np.less, 5: np.less_equal,
    6: lambda a, b: (a < b) | (a > b),
    7: lambda a, b: (a == a) & (b == b),
    8: lambda a, b: ~((a < b) | (a > b)),
    9: lambda a, b: np.logical_not(a <= b), 10: lambda a, b: np.logical_not(a < b),
    11: lambda a, b: np.logical_not(a >= b), 12: lambda a, b: np.logical_not(a > b),
    13: np.not_equal,
    14: lambda a, b: (a != a) | (b != b),
    15: lambda a, b: np.ones(np.broadcast_shapes(np.shape(a), np.shape(b)), np.bool_)[()],
}  # fmt: skip
"""Comparisons of floats by MLIR's number of the predicate."""


# --- shapes -----------------------------------------------------------------------------------------------------------


def select(condition: Any, a: Any, b: Any) -> Any:
    """Return `a` where the condition holds, else `b`."""
    if np.ndim(condition) == 0:
        return a if condition else b
    return np.where(condition, a, b)


def expand_dims(value: Any, axis: int) -> Any:
    """Return a block with a dimension of size 1 added."""
    return value if np.ndim(value) == 0 else np.expand_dims(value, axis)


def split(value: Any, shape: Sequence[int]) -> tuple[Any, Any]:
    """Return the two halves of a block along its last dimension, which has size 2."""
    value = whole(value, shape)
    return value[..., 0], value[..., 1]


def join(a: Any, b: Any, shape: Sequence[int]) -> Any:
    """Return two blocks side by side along a new last dimension."""
    return np.stack([whole(a, shape), whole(b, shape)], axis=-1)


def gather(source: Any, shape: Sequence[int], indices: Any, index_shape: Sequence[int], axis: int) -> Any:
    """Return the elements of a block at indices along an axis."""
    return np.take_along_axis(whole(source, shape), whole(indices, index_shape), axis=axis)


def histogram(values: Any, shape: Sequence[int], mask: Any, bins: int, element: str) -> Any:
    """Return how many of the values, where the mask is true, equal each integer from 0 up to the number of bins."""
    chosen = whole(values, shape)
    chosen = chosen[whole(mask, shape)] if mask is not None else chosen.reshape(-1)
    chosen = chosen[(chosen >= 0) & (chosen < bins)]
    return np.bincount(chosen.astype(np.int64), minlength=bins).astype(numbers.held(element))


# --- reductions and scans ---------------------------------------------------------------------------------------------

Combine = Callable[..., tuple[Any, ...]]
"""A function of the kernel that is passed to a reduction, a scan or a map."""

REDUCTIONS: dict[str, np.ufunc] = {
    "arith.addf": np.add, "arith.addi": np.add, "arith.mulf": np.multiply, "arith.muli": np.multiply,
    "arith.maximumf": np.maximum, "arith.minimumf": np.minimum, "arith.maxnumf": np.fmax, "arith.minnumf": np.fmin,
    "arith.maxsi": np.maximum, "arith.minsi": np.minimum,
    "arith.andi": np.bitwise_and, "arith.ori": np.bitwise_or, "arith.xori": np.bitwise_xor,
}  # fmt: skip
"""NumPy's functions for reductions and scans by one operation of TTIR."""


def reduce_by(function: np.ufunc, value: Any, shape: Sequence[int], axis: int) -> Any:
    """Reduce a block along an axis by one of NumPy's functions, and keep the type."""
    block = whole(value, shape)
    return function.reduce(block, axis=axis, dtype=block.dtype)


def reduce(combine: Combine, values: Sequence[Any], shape: Sequence[int], axis: int) -> tuple[Any, ...]:
    """Reduce blocks of one shape together along an axis, halves at a time, by a function of the kernel."""
    blocks = [np.moveaxis(whole(value, shape), axis, 0) for value in values]
    while (size := blocks[0].shape[0]) > 1:
        half = size // 2
        first, second = [block[:half] for block in blocks], [block[half : 2 * half] for block in blocks]
        combined = combine(*first, *second)
        blocks = [
            np.concatenate([whole(part, block[:half].shape).astype(block.dtype), block[2 * half :]])
            for part, block in zip(combined, blocks, strict=True)
        ]
    return tuple(block[0] for block in blocks)


def scan_by(function: np.ufunc, value: Any, shape: Sequence[int], axis: int, reverse: bool) -> Any:
    """Scan a block along an axis by one of NumPy's functions, from the end with `reverse`."""
    block = whole(value, shape)
    if reverse:
        return np.flip(function.accumulate(np.flip(block, axis), axis=axis, dtype=block.dtype), axis)
    return function.accumulate(block, axis=axis, dtype=block.dtype)


def scan(combine: Combine, values: Sequence[Any], shape: Sequence[int], axis: int, reverse: bool) -> tuple[Any, ...]:
    """Scan blocks of one shape together along an axis by a function of the kernel, in steps of doubled distance."""
    blocks = [np.moveaxis(whole(value, shape), axis, 0) for value in values]
    if reverse:
        blocks = [np.flip(block, 0) for block in blocks]
    distance = 1
    while distance < blocks[0].shape[0]:
        before, here = [block[:-distance] for block in blocks], [block[distance:] for block in blocks]
        combined = combine(*before, *here)
        blocks = [
            np.concatenate([block[:distance], whole(part, then.shape).astype(block.dtype)])
            for part, block, then in zip(combined, blocks, here, strict=True)
        ]
        distance *= 2
    if reverse:
        blocks = [np.flip(block, 0) for block in blocks]
    return tuple(np.moveaxis(block, 0, axis) for block in blocks)


def map_elements(
    function: Combine, values: Sequence[Any], shape: Sequence[int], pack: int, dtypes: Sequence[Any]
) -> tuple[Any, ...]:
    """Apply a function of scalars, which may branch, to the elements of blocks, `pack` of them at a time."""
    flat = [whole(value, shape).reshape(-1) for value in values]
    size = flat[0].size
    results = [np.empty(size, dtype) for dtype in dtypes]
    for start in range(0, size, pack):
        made = function(*(block[start + at] for block in flat for at in range(pack)))
        for number, block in enumerate(results):
            for at in range(pack):
                block[start + at] = made[number * pack + at]
    return tuple(block.reshape(tuple(shape)) for block in results)
