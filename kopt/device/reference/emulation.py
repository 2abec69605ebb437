"""Emulate what a GPU's float32 arithmetic may do to a reference, where torch on a CPU computes more exactly.

torch on a CPU adds scans in float64 and sums by halves; a right kernel may add one element after the other.  torch on a
GPU convolves float32 in TF32 by default, and multiplies matrices in float32 unless the reference allows TF32.  `Any`:
torch passes operations, their arguments and results untyped.
"""

from __future__ import annotations

import math
from typing import Any

import torch

from kopt.device.reference.dispatch import DispatchMode

SUM_SIGMAS = 2.0
"""Error of an emulated sum, in standard deviations of the error of adding one element after the other."""

MOST_ELEMENTS = 1 << 24
"""Largest sum or scan whose error is emulated."""

TF32_DROPPED = 13
"""Bits of a float32's mantissa that TF32 lacks."""

SCANS = {"cumsum", "cumprod", "logcumsumexp"}
SUMS = {"sum", "mean", "nansum"}
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
        if source is None or not (_is_float32(out) and _is_float32(source)) or source.numel() > MOST_ELEMENTS:
            return out
        if name in SCANS and source.dim():
            return _with_scan_error(name, source, args[1] if len(args) > 1 else kwargs["dim"], out)
        if name in SUMS and source.numel():
            return _with_sum_error(name, source, args[1] if len(args) > 1 else kwargs.get("dim"), out)
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
    steps = torch.arange(1, source.shape[dimension] + 1, dtype=torch.float64, device=source.device)
    shape = [1] * source.dim()
    shape[dimension] = -1
    partial = out.double()
    if name == "cumsum":
        spread = partial.square().cumsum(dimension).sqrt()
    else:
        spread = partial.abs().clamp_min(1.0 if name == "logcumsumexp" else 0.0) * steps.sqrt().reshape(shape)
    return _moved(out, spread)


def _with_sum_error(name: str, source: torch.Tensor, dimensions: Any, out: torch.Tensor) -> torch.Tensor:
    """Add the error of a sum to which one element is added after the other."""
    listed = [dimensions] if isinstance(dimensions, int) else list(dimensions or range(source.dim()))
    axes = sorted(dimension % max(source.dim(), 1) for dimension in listed) if source.dim() else []
    count = math.prod(source.shape[axis] for axis in axes)
    moved = source.double().movedim(axes, list(range(-len(axes), 0))) if axes else source.double().reshape(1)
    rows = moved.reshape(*moved.shape[: moved.dim() - len(axes)], -1) if axes else moved
    spread = rows.cumsum(-1).square().sum(-1).sqrt() / (count if name == "mean" else 1)
    return _moved(out, spread.reshape(out.shape))


def _moved(out: torch.Tensor, spread: torch.Tensor) -> torch.Tensor:
    """Move a result by the error that roundings of partial results of this root sum of squares cause."""
    unit = torch.finfo(torch.float32).eps / 2
    error = SUM_SIGMAS * unit / math.sqrt(3) * spread
    sign = torch.randint(0, 2, out.shape, device=out.device) * 2 - 1
    return torch.where(error.isfinite(), out.double() + sign * error, out.double()).to(out.dtype)
