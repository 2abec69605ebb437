"""Emulate what a GPU's float32 arithmetic may do to a reference, where torch on a CPU computes more exactly.

torch on a CPU adds scans in float64 and sums by halves; a right kernel may add one element after the other, and compute
a variance from a sum of squares.  torch on a GPU convolves float32 in TF32 by default, and multiplies matrices in
float32 unless the reference allows TF32.  `Any`: torch passes operations, their arguments and results untyped.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch

from kopt.device.reference.dispatch import DispatchMode

STEP_ERROR = 2.0 * 2.0**-24 / math.sqrt(3)
"""Error of a sum to which elements are added one by one, over the root sum of squares of the partial sums.

This is two standard deviations: each step rounds its partial sum by up to 2^-24 of it.
"""

MOST_ELEMENTS = 1 << 22
"""Largest sum or scan whose error is emulated."""

TF32_DROPPED = 13
"""Bits of a float32's mantissa that TF32 lacks."""

SCANS = {"cumsum", "cumprod", "logcumsumexp"}
SUMS = {"sum", "mean", "nansum"}
VARIANCES = {"var", "std", "var_mean", "std_mean"}
CONVOLUTIONS = {"convolution", "_convolution"}
PRODUCTS = {"mm", "bmm", "addmm", "baddbmm", "mv", "dot"}


class Float32Arithmetic(DispatchMode):
    """Give the results of float32 operations the error that a GPU's may have."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # torch does not type it

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run one operation, and add its error."""
        kwargs = kwargs or {}
        name = str(func.overloadpacket.__name__) if isinstance(func, torch._ops.OpOverload) else ""
        if (name in CONVOLUTIONS and torch.backends.cudnn.allow_tf32) or (
            name in PRODUCTS and torch.backends.cuda.matmul.allow_tf32
        ):
            args = tuple(_to_tf32(value) for value in args)
        out = func(*args, **kwargs)
        source: Any = args[0] if args else None
        if name in VARIANCES and isinstance(out, tuple):
            return (_with_variance_error(name, source, args, kwargs, out[0]), *out[1:])
        if source is None or not (_is_float32(out) and _is_float32(source)) or source.numel() > MOST_ELEMENTS:
            return out
        if name in SCANS and source.dim():
            return _with_scan_error(name, source, args[1] if len(args) > 1 else kwargs["dim"], out)
        if name in SUMS and source.numel():
            return _with_sum_error(name, source, args[1] if len(args) > 1 else kwargs.get("dim"), out)
        if name in VARIANCES and source.numel():
            return _with_variance_error(name, source, args, kwargs, out)
        return out


def rounded_to_tf32(values: torch.Tensor) -> torch.Tensor:
    """Round float32 numbers to the eleven significant bits of TF32."""
    bits = values.contiguous().view(torch.int32)
    half, mask = 1 << (TF32_DROPPED - 1), (1 << TF32_DROPPED) - 1
    return torch.where(values.isfinite(), ((bits + half) & ~mask).view(torch.float32), values)


def _to_tf32(value: Any) -> Any:
    return rounded_to_tf32(value) if _is_float32(value) else value


def _is_float32(value: Any) -> bool:
    return isinstance(value, torch.Tensor) and value.dtype == torch.float32


def _with_scan_error(name: str, source: torch.Tensor, dimension: int, out: torch.Tensor) -> torch.Tensor:
    """Add the error of a scan in which each step rounds."""
    partial = out.double()
    if name == "cumsum":
        error = partial.square().cumsum(dimension).sqrt() * STEP_ERROR
        return _moved(out, error.maximum((_one_by_one(source, dimension) - partial).abs()))
    steps = torch.arange(1, source.shape[dimension] + 1, dtype=torch.float64, device=source.device)
    shape = [1] * source.dim()
    shape[dimension] = -1
    size = partial.abs().clamp_min(1.0 if name == "logcumsumexp" else 0.0)
    return _moved(out, size * steps.sqrt().reshape(shape) * STEP_ERROR)


def _with_sum_error(name: str, source: torch.Tensor, dimensions: Any, out: torch.Tensor) -> torch.Tensor:
    """Add the error of a sum to which one element is added after the other."""
    rows = _rows(source, dimensions)
    return _moved(out, _sum_error(rows).reshape(out.shape) / (rows.shape[-1] if name == "mean" else 1))


def _with_variance_error(name: str, source: Any, args: Any, kwargs: Any, out: torch.Tensor) -> torch.Tensor:
    """Add the error of a variance, or its root, that is computed from a sum of squares."""
    if not (_is_float32(source) and _is_float32(out)) or source.numel() > MOST_ELEMENTS:
        return out
    given = args[1] if len(args) > 1 and not isinstance(args[1], bool) else kwargs.get("dim")
    rows = _rows(source, given)
    error = _sum_error(rows.square()).reshape(out.shape) / max(rows.shape[-1] - 1, 1)
    wide = out.double()
    return _moved(out, (wide.square() + error).sqrt() - wide if name.startswith("std") else error)


def _rows(source: torch.Tensor, dimensions: Any) -> torch.Tensor:
    """Return the elements that are added along the last dimension; those of all dimensions where none is named."""
    listed = [dimensions] if isinstance(dimensions, int) else list(dimensions or range(source.dim()))
    axes = sorted({dimension % source.dim() for dimension in listed}) if source.dim() else []
    kept = [axis for axis in range(source.dim()) if axis not in axes]
    return source.permute(*kept, *axes).reshape(*(source.shape[axis] for axis in kept), -1)


def _sum_error(rows: torch.Tensor) -> torch.Tensor:
    partial = rows.double().cumsum(-1)
    return (partial.square().sum(-1).sqrt() * STEP_ERROR).maximum((_one_by_one(rows, -1) - partial)[..., -1].abs())


def _one_by_one(source: torch.Tensor, dimension: int) -> torch.Tensor:
    """Return the partial sums in float32, each element added after the other, as float64."""
    with np.errstate(over="ignore", invalid="ignore"):
        added = np.cumsum(source.detach().cpu().numpy(), axis=dimension, dtype=np.float32)
    return torch.from_numpy(added).to(source.device, torch.float64)


def _moved(out: torch.Tensor, error: torch.Tensor) -> torch.Tensor:
    """Move a result up or down by an error."""
    sign = torch.randint(0, 2, out.shape, device=out.device) * 2 - 1
    return torch.where(error.isfinite(), out.double() + sign * error, out.double()).to(out.dtype)
