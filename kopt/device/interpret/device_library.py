"""Compute the functions of CUDA's device library (libdevice) with NumPy and torch.

A function is found by its symbol (`__nv_tanhf`), without the letter of its precision: NumPy computes in the type of
the arguments.  What is rounded in a direction (`_rn`, `_rz`, `_rd`, `_ru`) is computed in NumPy's longest float first.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from kopt.device.interpret import numbers
from kopt.device.interpret.numbers import Array, by_torch
from kopt.device.interpret.operations import fused, high_half, unsigned_of

LibraryFunction = Callable[..., Array]


def _torch(function: Callable[..., torch.Tensor]) -> LibraryFunction:
    return lambda *values: by_torch(function, *values)


def _wide(function: Callable[..., torch.Tensor]) -> LibraryFunction:
    """Have a function of torch computed in float64."""
    return lambda *values: by_torch(function, *(np.asarray(value, np.float64) for value in values)).astype(
        np.asarray(values[-1]).dtype
    )


def _power(x: Any, y: Any) -> Array:
    return np.asarray(np.power(x, np.asarray(y).astype(np.asarray(x).dtype)))


def _gamma(x: Any) -> Array:
    wide = np.asarray(x, np.float64)
    size = np.exp(by_torch(torch.lgamma, wide))
    negative = (wide < 0) & (np.floor(wide) % 2 != 0)
    return np.where((wide < 0) & (np.floor(wide) == wide), np.nan, np.where(negative, -size, size))


def _bessel(order: Any, x: Any, first: Callable[..., Any], second: Callable[..., Any]) -> Array:
    """Return a Bessel function of an order from those of orders 0 and 1, upwards."""
    wide = np.asarray(x, np.float64)
    below, here = by_torch(first, wide), by_torch(second, wide)
    orders = np.broadcast_to(order, wide.shape)
    result = np.where(orders == 0, below, here)
    for step in range(1, int(np.max(orders, initial=1))):
        below, here = here, 2 * step / wide * here - below
        result = np.where(orders == step + 1, here, result)
    return np.asarray(result)


def _round_away(x: Any) -> Array:
    return np.asarray(np.trunc(x + np.copysign(np.asarray(0.5, np.asarray(x).dtype), x)))


def _leading_zeros(x: Any) -> Array:
    bits = numbers.unsigned(x).astype(np.uint64)
    width = 8 * np.asarray(x).dtype.itemsize
    count = np.zeros(bits.shape, np.int32)
    for place in range(width):
        count = np.where(bits >> np.uint64(place) != 0, place + 1, count)
    return np.asarray(width - count)


def _first_set(x: Any) -> Array:
    bits = numbers.unsigned(x).astype(np.uint64)
    lowest = bits & (~bits + np.uint64(1))
    return np.where(bits == 0, 0, 64 - _leading_zeros(lowest.view(np.int64)))


def _reversed_bits(x: Any) -> Array:
    bits = numbers.unsigned(x)
    width = 8 * bits.dtype.itemsize
    result = np.zeros_like(bits)
    for place in range(width):
        result |= ((bits >> bits.dtype.type(place)) & bits.dtype.type(1)) << bits.dtype.type(width - 1 - place)
    return result.view(f"i{bits.dtype.itemsize}")


def permuted_bytes(a: Any, b: Any, selector: Any) -> Array:
    """Return four bytes of eight, those of `a` being 0 to 3, as PTX's `prmt` and `__byte_perm` choose them."""
    both = numbers.unsigned(a).astype(np.uint64) | numbers.unsigned(b).astype(np.uint64) << np.uint64(32)
    choice = numbers.unsigned(selector).astype(np.uint64)
    result = np.zeros(np.broadcast_shapes(both.shape, choice.shape), np.uint64)
    for place in range(4):
        nibble = choice >> np.uint64(4 * place) & np.uint64(15)
        byte = both >> (np.uint64(8) * (nibble & np.uint64(7))) & np.uint64(255)
        sign = np.where(byte >> np.uint64(7) != 0, np.uint64(255), np.uint64(0))
        result |= np.where(nibble & np.uint64(8) != 0, sign, byte) << np.uint64(8 * place)
    return result.astype(np.uint32).view(np.int32)


def _halved(signed: bool, up: bool) -> LibraryFunction:
    """Make the average of two integers, rounded up or down, which does not overflow."""

    def average(a: Any, b: Any) -> Array:
        left, right = (np.asarray(a), np.asarray(b)) if signed else (numbers.unsigned(a), numbers.unsigned(b))
        return np.asarray((left.astype(np.int64) + right.astype(np.int64) + up) >> 1).astype(np.int32)

    return average


def _norm(*values: Any) -> Array:
    return np.asarray(np.sqrt(sum(np.square(np.asarray(value, np.float64)) for value in values)))


def _directed(function: Callable[..., Any], direction: str) -> LibraryFunction:
    """Have a function computed in NumPy's longest float and rounded in a direction (`rn`, `rz`, `rd`, `ru`)."""

    def computed(*values: Any) -> Array:
        narrow = np.asarray(values[0]).dtype
        exact = np.asarray(function(*(np.asarray(value, np.longdouble) for value in values)))
        return _in_direction(exact, narrow, direction)

    return computed


def _in_direction(exact: Array, narrow: np.dtype[Any], direction: str) -> Array:
    """Return values rounded to a narrower type in a direction."""
    nearest = exact.astype(narrow)
    lower = np.where(nearest > exact, np.nextafter(nearest, narrow.type(-np.inf)), nearest)
    upper = np.where(nearest < exact, np.nextafter(nearest, narrow.type(np.inf)), nearest)
    match direction:
        case "rd":
            return lower
        case "ru":
            return upper
        case "rz":
            return np.where(exact < 0, upper, lower)
        case _:
            return nearest


_ROUND: dict[str, Callable[[Any], Any]] = {"rn": np.rint, "rz": np.trunc, "rd": np.floor, "ru": np.ceil}


def _conversion(name: str) -> LibraryFunction | None:
    """Return a conversion such as `float2int_rz` or `ll2double_ru`; None for another name."""
    kinds = {"float": "f32", "double": "f64", "int": "i32", "uint": "i32", "ll": "i64", "ull": "i64"}
    pair, _, direction = name.rpartition("_")
    source, _, target = pair.partition("2")
    if source not in kinds or target not in kinds or direction not in _ROUND:
        return None
    if target in ("float", "double"):
        wanted = numbers.held(kinds[target])

        def to_float(x: Any) -> Array:
            exact = np.asarray(numbers.unsigned(x) if source[0] == "u" else x).astype(np.longdouble)
            return _in_direction(exact, wanted, direction)

        return to_float
    return lambda x: numbers.saturated(_ROUND[direction](x), kinds[target], target[0] != "u")


def _bits(target: type[Any]) -> LibraryFunction:
    return lambda x: np.asarray(x).view(target)


_SQRT1_2 = 0.7071067811865476

FUNCTIONS: dict[str, LibraryFunction] = {
    "tanh": np.tanh, "exp": np.exp, "exp2": np.exp2, "expm1": np.expm1,
    "exp10": lambda x: np.power(np.asarray(x).dtype.type(10), x),
    "log": np.log, "log2": np.log2, "log10": np.log10, "log1p": np.log1p,
    "sin": np.sin, "cos": np.cos, "tan": np.tan, "asin": np.arcsin, "acos": np.arccos, "atan": np.arctan,
    "sinpi": lambda x: np.sin(np.pi * np.asarray(x, np.float64)),
    "cospi": lambda x: np.cos(np.pi * np.asarray(x, np.float64)),
    "sinh": np.sinh, "cosh": np.cosh, "asinh": np.arcsinh, "acosh": np.arccosh, "atanh": np.arctanh,
    "sqrt": np.sqrt, "rsqrt": lambda x: 1 / np.sqrt(x), "rsqrt_rn": lambda x: 1 / np.sqrt(x), "cbrt": np.cbrt,
    "rcbrt": lambda x: 1 / np.cbrt(x), "erf": numbers.erf, "erfc": _torch(torch.erfc), "erfinv": _torch(torch.erfinv),
    "erfcinv": lambda x: by_torch(torch.special.ndtri, np.asarray(x, np.float64) / 2) * -_SQRT1_2,
    "erfcx": _wide(torch.special.erfcx), "normcdf": _wide(torch.special.ndtr), "normcdfinv": _wide(torch.special.ndtri),
    "lgamma": _wide(torch.lgamma), "tgamma": _gamma,
    "cyl_bessel_i0": _wide(torch.special.i0), "cyl_bessel_i1": _wide(torch.special.i1),
    "j0": _wide(torch.special.bessel_j0), "j1": _wide(torch.special.bessel_j1),
    "y0": _wide(torch.special.bessel_y0), "y1": _wide(torch.special.bessel_y1),
    "jn": lambda n, x: _bessel(n, x, torch.special.bessel_j0, torch.special.bessel_j1),
    "yn": lambda n, x: _bessel(n, x, torch.special.bessel_y0, torch.special.bessel_y1),
    "abs": np.abs, "fabs": np.abs, "llabs": np.abs, "floor": np.floor, "ceil": np.ceil, "trunc": np.trunc,
    "rint": np.rint, "nearbyint": np.rint, "round": _round_away, "llrint": np.rint, "llround": _round_away,
    "pow": _power, "powi": _power, "fmod": np.fmod,
    "remainder": lambda x, y: x - y * np.rint(x / y), "atan2": np.arctan2, "hypot": np.hypot,
    "rhypot": lambda x, y: 1 / np.hypot(x, y), "norm3d": _norm, "norm4d": _norm,
    "rnorm3d": lambda *x: 1 / _norm(*x), "rnorm4d": lambda *x: 1 / _norm(*x),
    "max": np.maximum, "min": np.minimum, "fmax": np.fmax, "fmin": np.fmin, "copysign": np.copysign,
    "fdim": lambda x, y: np.where(x > y, x - y, 0), "fma": fused, "fdivide": np.divide, "nextafter": np.nextafter,
    "ldexp": np.ldexp, "scalbn": np.ldexp, "logb": lambda x: np.frexp(x)[1] - 1.0,
    "ilogb": lambda x: np.frexp(x)[1] - 1,
    "isnan": np.isnan, "isinf": np.isinf, "finite": np.isfinite, "isfinite": np.isfinite, "signbit": np.signbit,
    "saturate": lambda x: np.nan_to_num(np.clip(x, 0, 1), nan=0.0),
    "clz": _leading_zeros, "clzll": _leading_zeros, "ffs": _first_set, "ffsll": _first_set,
    "popc": lambda x: np.bitwise_count(numbers.unsigned(x)), "popcll": lambda x: np.bitwise_count(numbers.unsigned(x)),
    "brev": _reversed_bits, "brevll": _reversed_bits, "byte_perm": permuted_bytes,
    "mul24": lambda a, b: ((a << 8) >> 8) * ((b << 8) >> 8),
    "umul24": lambda a, b: (a & 0xFFFFFF) * (b & 0xFFFFFF),
    "umulhi": high_half, "umul64hi": high_half,
    "mulhi": lambda a, b: (np.asarray(a, np.int64) * np.asarray(b, np.int64)) >> 32,
    "mul64hi": lambda a, b: high_half(a, b) - np.where(a < 0, b, 0) - np.where(b < 0, a, 0),
    "sad": lambda a, b, c: np.abs(np.asarray(a, np.int64) - b).astype(np.int32) + c,
    "usad": lambda a, b, c: unsigned_of(lambda x, y: np.where(x > y, x - y, y - x), a, b) + c,
    "hadd": _halved(True, False), "rhadd": _halved(True, True),
    "uhadd": _halved(False, False), "urhadd": _halved(False, True),
    "double2hiint": lambda x: (np.asarray(x).view(np.int64) >> 32).astype(np.int32),
    "double2loint": lambda x: np.asarray(x).view(np.int64).astype(np.int32),
    "hiloint2double": lambda high, low: (
        (np.asarray(high, np.int64) << 32) | numbers.unsigned(low).astype(np.int64)
    ).view(np.float64),
    "float_as_int": _bits(np.int32), "float_as_uint": _bits(np.int32), "int_as_float": _bits(np.float32),
    "uint_as_float": _bits(np.float32), "double_as_longlong": _bits(np.int64), "longlong_as_double": _bits(np.float64),
    "rcp64h": np.reciprocal,
}  # fmt: skip
"""Functions by name, without `__nv_`, `fast_` and the letter of the precision."""

_DIRECTED: dict[str, Callable[..., Any]] = {
    "add": np.add, "sub": np.subtract, "mul": np.multiply, "div": np.divide, "rcp": np.reciprocal, "sqrt": np.sqrt,
    "fma": lambda x, y, z: x * y + z,
}  # fmt: skip
"""Functions that exist with a direction of rounding."""


def function(symbol: str) -> LibraryFunction | None:
    """Return the function for a symbol of libdevice (`__nv_tanhf`); None where there is no such function here."""
    name = symbol.removeprefix("__nv_").removeprefix("fast_")
    spellings = (name, name.removesuffix("f"), name.removesuffix("d"), name.removeprefix("f"))
    known = next((FUNCTIONS[spelling] for spelling in spellings if spelling in FUNCTIONS), None)
    if known is not None:
        return known
    stem, _, direction = name.rpartition("_")
    for spelling in (stem, stem.removesuffix("f"), stem.removeprefix("f"), stem.removeprefix("d")):
        if direction in _ROUND and spelling in _DIRECTED:
            return _directed(_DIRECTED[spelling], direction)
    return _conversion(name)
