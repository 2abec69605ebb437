"""Convert floating-point types that NumPy lacks between their bits and their values, for Triton's interpreter.

Triton's own conversions truncate where a GPU rounds to nearest even, lose a carry into the exponent, and compute with
the bits of bfloat16 as if they were integers; `kopt.device.interpret.arithmetic` replaces them by these.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

Array = npt.NDArray[Any]  # of whatever element type a kernel computes with

_EIGHT_BITS = {"fp8e5": torch.float8_e5m2, "fp8e4nv": torch.float8_e4m3fn}
_NATIVE = {"fp16": np.float16, "fp32": np.float32, "fp64": np.float64}


@contextmanager
def unwatched() -> Iterator[None]:
    """Run torch outside the dispatch modes of the candidate, which must not count the interpreter's own operations."""
    with torch._C.DisableTorchFunction(), torch._C._DisableTorchDispatch():
        yield


def is_floating(name: str) -> bool:
    """Return whether a Triton type, by name, is one of the floating-point types that this module converts."""
    return name == "bf16" or name in _NATIVE or name in _EIGHT_BITS


def decode(values: Array, name: str) -> Array:
    """Return the values of a Triton type as NumPy floats, given its bits (or a NumPy array of the type itself)."""
    if name == "bf16":
        return (values.astype(np.uint32) << 16).view(np.float32)
    if name in _EIGHT_BITS:
        return _decode_eight_bits(values, _EIGHT_BITS[name])
    return values.view(_NATIVE[name])


def encode(values: Array, name: str, truncate: bool = False) -> Array:
    """Return the bits of values rounded to a Triton type.

    Rounds to nearest even, or bfloat16 towards zero with `truncate`; 8-bit types saturate.
    """
    if name == "bf16":
        return _bfloat16_bits(values.astype(np.float32), truncate)
    if name in _EIGHT_BITS:
        return _encode_eight_bits(values, _EIGHT_BITS[name])
    wanted = np.dtype(_NATIVE[name])
    return values.astype(wanted).view(np.dtype(f"u{wanted.itemsize}"))


@unwatched()
def _decode_eight_bits(values: Array, dtype: torch.dtype) -> Array:
    return torch.from_numpy(np.array(values, dtype=np.uint8)).view(dtype).float().numpy()


@unwatched()
def _encode_eight_bits(values: Array, dtype: torch.dtype) -> Array:
    most = torch.finfo(dtype).max
    wide = torch.from_numpy(np.array(values, dtype=np.float32)).clamp(-most, most)
    return wide.to(dtype).view(torch.uint8).numpy()


def _bfloat16_bits(values: Array, truncate: bool) -> Array:
    bits = values.view(np.uint32)
    rounding = np.uint32(0) if truncate else np.uint32(0x7FFF) + ((bits >> 16) & np.uint32(1))
    rounded = ((bits + rounding) >> 16).astype(np.uint16)
    return np.where(np.isnan(values), np.uint16(0x7FC0), rounded)


def masked_off(shape: tuple[int, ...], dtype: np.dtype[Any], name: str) -> Array:
    """Return what a load gives where it is masked off without `other`: NaN, and zero for integers."""
    if not is_floating(name):
        return np.zeros(shape, dtype)
    return np.broadcast_to(encode(np.array([np.nan]), name).view(dtype), shape).copy()


@unwatched()
def erf(values: Array) -> Array:
    """Return the error function of each value."""
    return torch.erf(torch.from_numpy(np.array(values))).numpy()


LIBDEVICE: dict[str, Callable[..., Array]] = {
    "tanh": np.tanh, "exp": np.exp, "exp2": np.exp2, "expm1": np.expm1,
    "exp10": lambda x: np.power(x.dtype.type(10), x),
    "log": np.log, "log2": np.log2, "log10": np.log10, "log1p": np.log1p,
    "sin": np.sin, "cos": np.cos, "tan": np.tan, "asin": np.arcsin, "acos": np.arccos, "atan": np.arctan,
    "sinh": np.sinh, "cosh": np.cosh, "asinh": np.arcsinh, "acosh": np.arccosh, "atanh": np.arctanh,
    "sqrt": np.sqrt, "sqrt_rn": np.sqrt, "rsqrt": lambda x: 1 / np.sqrt(x), "cbrt": np.cbrt, "erf": erf,
    "abs": np.abs, "fabs": np.abs, "floor": np.floor, "ceil": np.ceil, "trunc": np.trunc, "rint": np.rint,
    "nearbyint": np.rint, "pow": np.power, "fmod": np.fmod, "atan2": np.arctan2, "hypot": np.hypot,
    "max": np.maximum, "min": np.minimum, "fmax": np.fmax, "fmin": np.fmin, "copysign": np.copysign,
    "fma": lambda x, y, z: x * y + z, "fma_rn": lambda x, y, z: x * y + z,
    "div_rn": np.divide, "divide": np.divide, "rcp_rn": np.reciprocal, "add_rn": np.add, "mul_rn": np.multiply,
    "isnan": np.isnan, "isinf": np.isinf, "finite": np.isfinite, "saturate": lambda x: np.clip(x, 0, 1),
}  # fmt: skip
"""Functions of CUDA's device library by name, without `__nv_`, `fast_` and the `f` of single precision."""


def libdevice(symbol: str) -> Callable[..., Array] | None:
    """Return the NumPy function for a function of libdevice (`__nv_tanhf`); None where NumPy has no such function."""
    name = symbol.removeprefix("__nv_").removeprefix("fast_")
    spellings = [name, name.removesuffix("f"), name.removeprefix("f"), name.removesuffix("f").removesuffix("d")]
    spellings += [spelling.replace("fdivide", "divide") for spelling in spellings]
    return next((LIBDEVICE[spelling] for spelling in spellings if spelling in LIBDEVICE), None)
