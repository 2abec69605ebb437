"""Represent the numbers of a kernel in NumPy: bfloat16 and 8-bit floats as float32, other types by NumPy's own.

A value of a narrow type is held as the float32 number that it stands for, so arithmetic on it is float32 arithmetic
that is rounded afterwards, as on a GPU.  Integers are held signed, since TTIR has operations, not types, that are
unsigned; a truth value (`i1`) is held as NumPy's.  Element types are named as in MLIR (`f32`, `bf16`, `f8E5M2`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

Array = npt.NDArray[Any]
"""Array of whatever element type a kernel computes with."""

EIGHT_BITS = {
    "f8E5M2": torch.float8_e5m2,
    "f8E4M3FN": torch.float8_e4m3fn,
    "f8E4M3FNUZ": torch.float8_e4m3fnuz,
    "f8E5M2FNUZ": torch.float8_e5m2fnuz,
}
"""Types of torch by element type: NumPy has none of these."""
NATIVE = {"f16": np.float16, "f32": np.float32, "f64": np.float64}
"""Floating-point types that NumPy has, by element type."""


@contextmanager
def unwatched() -> Iterator[None]:
    """Run torch outside the dispatch modes of the candidate, which must not count the interpreter's own operations."""
    with torch._C.DisableTorchFunction(), torch._C._DisableTorchDispatch():
        yield


def is_floating(element: str) -> bool:
    """Return whether an element type is one of the floating-point types that kernels compute with."""
    return element == "bf16" or element in NATIVE or element in EIGHT_BITS


@cache
def held(element: str) -> np.dtype[Any]:
    """Return the NumPy type in which values of an element type are held."""
    if element in NATIVE:
        return np.dtype(NATIVE[element])
    if is_floating(element):
        return np.dtype(np.float32)
    if element == "i1":
        return np.dtype(np.bool_)
    return np.dtype(np.int64 if element in ("ptr", "index") else f"i{max(8, int(element[1:])) // 8}")


@cache
def stored(element: str) -> np.dtype[Any]:
    """Return the NumPy type of the bits of an element type in memory."""
    if element == "bf16":
        return np.dtype(np.uint16)
    return np.dtype(np.uint8) if element in EIGHT_BITS else held(element)


def decode(bits: Array, element: str) -> Array:
    """Return the values of an element type, given its bits."""
    if element == "bf16":
        return (bits.astype(np.uint32) << np.uint32(16)).view(np.float32)
    if element in EIGHT_BITS:
        return _decode_eight_bits(bits, EIGHT_BITS[element])
    return bits


def encode(values: Array, element: str) -> Array:
    """Return the bits of values that an element type can represent."""
    if element == "bf16":
        return (np.ascontiguousarray(values, dtype=np.float32).view(np.uint32) >> np.uint32(16)).astype(np.uint16)
    if element in EIGHT_BITS:
        return _encode_eight_bits(values, EIGHT_BITS[element])
    return np.asarray(values, dtype=held(element))


def rounded(values: Array, element: str, truncate: bool = False) -> Array:
    """Return values rounded to an element type: to nearest even, or towards zero; 8-bit types saturate."""
    if element == "bf16":
        return to_bfloat16(values, truncate)
    if element in EIGHT_BITS:
        eight_bits = EIGHT_BITS[element]
        return _decode_eight_bits(_encode_eight_bits(values, eight_bits, truncate), eight_bits)
    result = np.asarray(values).astype(held(element))
    if truncate and result.dtype.itemsize < np.asarray(values).dtype.itemsize:
        result = np.where(np.abs(result) > np.abs(values), np.nextafter(result, result.dtype.type(0)), result)
    return result[()]


def to_bfloat16(values: Array, truncate: bool = False) -> Array:
    """Return values rounded to bfloat16, held as float32."""
    single = np.asarray(values, dtype=np.float32)
    bits = single.view(np.uint32)
    if not truncate:
        bits = bits + (np.uint32(0x7FFF) + ((bits >> np.uint32(16)) & np.uint32(1)))
    result = (bits & np.uint32(0xFFFF0000)).view(np.float32)
    missing = single != single
    return np.where(missing, np.float32(np.nan), result)[()] if missing.any() else result


def to_tf32(values: Array) -> Array:
    """Return float32 values rounded to TF32, a mantissa of ten bits: to nearest, ties away from zero."""
    bits = np.asarray(values, dtype=np.float32).view(np.uint32)
    result = ((bits + np.uint32(0x1000)) & np.uint32(0xFFFFE000)).view(np.float32)
    return np.where(np.isfinite(values), result, values)


def cut_to_tf32(values: Array) -> Array:
    """Return float32 values cut off to TF32, towards zero, as tensor cores read them; NaN and infinities stay."""
    single = np.asarray(values, dtype=np.float32)
    return np.where(np.isfinite(single), (single.view(np.uint32) & np.uint32(0xFFFFE000)).view(np.float32), single)


@unwatched()
def _decode_eight_bits(bits: Array, dtype: torch.dtype) -> Array:
    return torch.from_numpy(np.array(bits, dtype=np.uint8)).view(dtype).float().numpy()[()]


@unwatched()
def _encode_eight_bits(values: Array, dtype: torch.dtype, truncate: bool = False) -> Array:
    most = torch.finfo(dtype).max
    wide = torch.from_numpy(np.array(values, dtype=np.float32)).clamp(-most, most)
    bits = wide.to(dtype).view(torch.uint8)
    if truncate:
        bits = bits - (bits.view(dtype).float().abs() > wide.abs()).to(torch.uint8)
    return bits.numpy()[()]


def missing(element: str) -> Any:
    """Return the element that a load without `other` gives where its mask is false: NaN, and zero for integers."""
    return held(element).type(np.nan if is_floating(element) else 0)


def reinterpreted(values: Array, source: str, target: str) -> Array:
    """Return the values of another element type of the same width that have the same bits."""
    bits = np.asarray(encode(values, source)).view(stored(target))
    return decode(bits, target)[()]


def unsigned(values: Array) -> Array:
    """Return the unsigned integers with the same bits; truth values become 0 and 1."""
    values = np.asarray(values)
    if values.dtype == np.bool_:
        return values.astype(np.uint8)
    return values.view(f"u{values.dtype.itemsize}")


def saturated(values: Array, target: str, signed: bool) -> Array:
    """Return floats converted to integers as a GPU does: towards zero, saturated, and 0 for NaN."""
    wanted = held(target) if signed else np.dtype(f"u{held(target).itemsize}")
    limits = np.iinfo(wanted)
    wide = np.nan_to_num(np.trunc(np.asarray(values, dtype=np.float64)), nan=0.0, posinf=np.inf, neginf=-np.inf)
    low, high = wide <= limits.min, wide >= limits.max
    inside = np.where(low | high, 0.0, wide).astype(wanted)
    result = np.where(low, wanted.type(limits.min), np.where(high, wanted.type(limits.max), inside))
    return result.view(held(target))[()]


@unwatched()
def by_torch(function: Callable[..., torch.Tensor], *values: Array) -> Array:
    """Return what a function of torch makes of arrays, elementwise."""
    return function(*(torch.from_numpy(np.array(value)) for value in values)).numpy()[()]


def erf(values: Array) -> Array:
    """Return the error function of each value."""
    return by_torch(torch.erf, values)
