"""Compute matrix products as a GPU's tensor cores do."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from kopt.device.interpret import numbers
from kopt.device.interpret.numbers import Array
from kopt.device.interpret.operations import whole
from kopt.device.interpret.session import Unsupported
from kopt.device.interpret.ttir import Type

_TF32, _BF16X3 = 0, 3
"""Input precisions by Triton's number; the others (TF32x3, IEEE, BF16x6) are about as exact as float32."""


def dot(a: Any, b: Any, c: Any, types: tuple[Type, Type, Type], precision: int) -> Array:
    """Return `a @ b + c`, of float32 operands in TF32 unless the kernel asks for another precision.

    Triton does not round operands to TF32: tensor cores leave out the bits that TF32 lacks.
    """
    left, right, start = (whole(value, kind.shape or ()) for value, kind in zip((a, b, c), types, strict=True))
    element = types[2].element
    if not numbers.is_floating(types[0].element):
        product = _integer_product(left, right)
        return np.asarray(start + product.astype(start.dtype))
    if types[0].element == "f32" and types[2].element == "f32":
        left, right = _REDUCED.get(precision, _same)(left), _REDUCED.get(precision, _same)(right)
    wide = np.float64 if element == "f64" else np.float32
    product = np.matmul(left.astype(wide, copy=False), right.astype(wide, copy=False))
    return np.asarray(numbers.rounded(product + start, element) if element not in ("f32", "f64") else product + start)


def _integer_product(a: Array, b: Array) -> Array:
    """Return the product of integers as int64, by way of float64, which holds it exactly."""
    product = np.matmul(a.astype(np.float64), b.astype(np.float64))
    return np.asarray(product.astype(np.int64))


def _same(values: Array) -> Array:
    return values


def _bfloat16_twice(values: Array) -> Array:
    """Return values with the 16 bits of mantissa that two bfloat16 numbers hold."""
    high = numbers.to_bfloat16(values)
    return np.asarray(high + numbers.to_bfloat16(values - high))


_REDUCED: dict[int, Callable[[Array], Array]] = {_TF32: numbers.cut_to_tf32, _BF16X3: _bfloat16_twice}

_E2M1 = np.array([0, 0.5, 1, 1.5, 2, 3, 4, 6, -0.0, -0.5, -1, -1.5, -2, -3, -4, -6], np.float32)
"""Values of a 4-bit float by its bits."""


def dot_scaled(
    a: Any,
    b: Any,
    c: Any,
    a_scale: Any,
    b_scale: Any,
    types: tuple[Type | None, ...],
    elements: tuple[int, int],
    packed: tuple[bool, bool],
) -> Array:
    """Return the product of microscaled operands: each 32 (or 16) elements along K share a scale.

    Elements are numbered as in `ScaleDotElemType`; `packed` says whether two 4-bit elements of a byte are neighbours
    along K.
    """
    shapes = [kind.shape if kind is not None else None for kind in types]
    left = _unpacked(whole(a, shapes[0] or ()), elements[0], 1 if packed[0] else 0, types[0])
    right = _unpacked(whole(b, shapes[1] or ()), elements[1], 0 if packed[1] else 1, types[1])
    if a_scale is not None:
        scale = _scales(whole(a_scale, shapes[3] or ()), types[3])
        left = left * np.repeat(scale, left.shape[1] // scale.shape[1], axis=1)
    if b_scale is not None:
        scale = _scales(whole(b_scale, shapes[4] or ()), types[4])
        right = right * np.repeat(scale, right.shape[0] // scale.shape[1], axis=1).T
    return np.asarray(np.matmul(left, right) + whole(c, shapes[2] or ()))


def _unpacked(values: Array, element: int, axis: int, kind: Type | None) -> Array:
    assert kind is not None
    match element:
        case 0 | 1:
            name = "f8E4M3FN" if element == 0 else "f8E5M2"
            return values if numbers.is_floating(kind.element) else numbers.decode(values.view(np.uint8), name)
        case 4:
            bits = values.view(np.uint8)
            pair = np.stack([_E2M1[bits & 15], _E2M1[bits >> 4]], axis=axis + 1)
            shape = list(values.shape)
            shape[axis] *= 2
            return pair.reshape(shape)
        case 5 | 6:
            return values.astype(np.float32)
    raise Unsupported(f"the interpreter has no scaled product of elements of kind {element}")


def _scales(bits: Array, kind: Type | None) -> Array:
    """Return scales: powers of two by their biased exponent, or 8-bit floats."""
    assert kind is not None
    if numbers.is_floating(kind.element):
        return bits.astype(np.float32)
    return np.asarray(
        np.where(bits.view(np.uint8) == 255, np.nan, np.exp2(bits.view(np.uint8).astype(np.float32) - 127))
    )
