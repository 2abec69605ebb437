"""Emulate what a GPU's float32 arithmetic, or other roundings to 16 bits, may do to a reference.

torch on a CPU adds scans in float64 and sums by halves; a right kernel may add one element after the other, also those
of a row that is normalised, and compute a variance from a sum of squares.  torch on a GPU convolves float32 in TF32 by
default, and multiplies matrices in float32 unless the reference allows TF32
(`kopt.device.expected.products.float32`).  `Any`: torch passes operations, their arguments and results untyped.
"""

from __future__ import annotations

import math
from functools import partial
from typing import Any

import numpy as np
import torch
from torch.nn.functional import rms_norm
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_map, tree_map_only

from kopt.device.expected.products.float32 import (
    is_float32,
    operation_name,
    permits_tf32,
    rounded_to_tf32,
    with_operands,
)
from kopt.device.expected.rounding import add_exactly, is_exact, spacing, summed_rows
from kopt.device.reference.dispatch import DispatchMode
from kopt.device.reference.elsewhere.policy import has_policy, region_at_hand
from kopt.device.reference.tree import tensors_of

STEP_ERROR = 2.0 * 2.0**-24 / math.sqrt(3)
"""Error of a sum to which elements are added one by one, over the root sum of squares of the partial sums.

This is two standard deviations: each step rounds its partial sum by up to 2^-24 of it.
"""

MOST_ELEMENTS = 1 << 22
"""Largest sum or scan whose error is emulated."""

SCANS = {"cumsum", "cumprod", "logcumsumexp"}
SUMS = {"sum", "mean", "nansum"}
VARIANCES = {"var", "std", "var_mean", "std_mean"}
FEW = 64
"""Elements of a product below which its error is emulated: of more of them, eager's own error is no matter of luck."""
NONE, MEAN = 0, 1
"""Numbers by which torch calls the reductions of a loss."""
NORMALISATIONS = {"native_layer_norm", "native_group_norm", "native_batch_norm"}


class Float32Arithmetic(DispatchMode):
    """Give the results of float32 operations the error that a GPU's may have."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # torch does not type it

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run one operation, and add its error."""
        kwargs = kwargs or {}
        name = operation_name(func)
        if permits_tf32(name):
            args = with_operands(name, args, rounded_to_tf32)
        out = func(*args, **kwargs)
        source: Any = args[0] if args else None
        first = out[0] if isinstance(out, tuple) else out
        if not (is_float32(first) and is_float32(source)) or not 0 < source.numel() <= MOST_ELEMENTS:
            return out
        error = _error(name, func, args, kwargs, first.double())
        if error is None:
            return out
        moved = _moved(first, error.reshape(first.shape))
        return (moved, *out[1:]) if isinstance(out, tuple) else moved


def _error(name: str, func: Any, args: Any, kwargs: Any, out: torch.Tensor) -> torch.Tensor | None:
    """Return the error of an operation's first result, `out`; None where it is that of torch itself."""
    source = args[0]
    if name in SCANS and source.dim():
        return _scan_error(name, source, args[1] if len(args) > 1 else kwargs["dim"], out)
    if name in SUMS:
        summed = summed_rows(source, args[1] if len(args) > 1 else kwargs.get("dim"))
        error = _sum_error(summed).masked_fill(add_exactly(summed), 0.0)
        return error / (summed.shape[-1] if name == "mean" else 1)
    if name in VARIANCES:
        rows = summed_rows(source, args[1] if len(args) > 1 and not isinstance(args[1], bool) else kwargs.get("dim"))
        error = _sum_error(rows.square()).reshape(out.shape) / max(rows.shape[-1] - 1, 1)
        return (out.square() + error).sqrt() - out if name.startswith("std") else error
    if name == "linalg_vector_norm" and (args[1] if len(args) > 1 else kwargs.get("ord", 2)) == 2:
        rows = summed_rows(source, args[2] if len(args) > 2 else kwargs.get("dim"))
        return (out.square() + _sum_error(rows.square()).reshape(out.shape)).sqrt() - out
    if name in ("dot", "mv", "mm") and out.numel() < FEW and out.numel() * source.shape[-1] <= MOST_ELEMENTS:
        products = source.reshape(-1, 1, source.shape[-1]) * args[1].reshape(source.shape[-1], -1).T
        return _sum_error(products).masked_fill(add_exactly(products), 0.0)
    places = {argument.name: place for place, argument in enumerate(func._schema.arguments)}
    if name in NORMALISATIONS:
        return _normalisation_error(name, dict(zip(places, args, strict=False)) | kwargs)
    if "reduction" in places and out.numel() == 1 < source.numel():
        return _loss_error(func, args, kwargs, places["reduction"])
    return None


def _loss_error(func: Any, args: Any, kwargs: Any, place: int) -> torch.Tensor | None:
    """Return the error of a loss, the sum or mean of its elements, from these elements."""
    given = args[place] if len(args) > place else kwargs.get("reduction", MEAN)
    elements = (
        func(*args[:place], NONE, *args[place + 1 :]) if len(args) > place else func(*args, **kwargs, reduction=NONE)
    )
    elements = elements[0] if isinstance(elements, tuple) else elements
    return _sum_error(elements.reshape(1, -1)) / (elements.numel() if given == MEAN else 1)


def _normalisation_error(name: str, given: dict[str, Any]) -> torch.Tensor | None:
    """Return the error of normalised rows whose mean and variance are sums of one element after the other.

    Args:
        name: operation of torch.
        given: its arguments by name.
    """
    source: torch.Tensor = given["input"]
    channels = [1, -1, *[1] * (source.dim() - 2)]
    if name == "native_layer_norm":
        kept = source.dim() - len(given["normalized_shape"])
        rows, scale = source.reshape(*source.shape[:kept], -1), list(given["normalized_shape"])
    elif name == "native_group_norm":
        rows, scale = source.reshape(source.shape[0], given["group"], -1), channels
    elif given["training"]:
        rows, scale = source.transpose(0, 1).reshape(source.shape[1], -1), channels
    else:
        return None
    length, exact = rows.shape[-1], rows.double()
    mean = exact.mean(-1, keepdim=True)
    moved = mean + _sum_error(rows)[..., None] / length
    spread = (rows - moved.float()).square()
    variance = spread.double().mean(-1, keepdim=True) + _sum_error(spread)[..., None] / length
    usual = (exact - mean) * (exact.var(-1, correction=0, keepdim=True) + given["eps"]).rsqrt()
    error: torch.Tensor = ((exact - moved) * (variance + given["eps"]).rsqrt() - usual).abs()
    if name == "native_batch_norm":
        error = error.reshape(source.transpose(0, 1).shape).transpose(0, 1)
    error = error.reshape(source.shape)
    weight: torch.Tensor | None = given.get("weight")
    return error if weight is None else error.mul(weight.double().abs().reshape(scale))


def _scan_error(name: str, source: torch.Tensor, dimension: int, partial: torch.Tensor) -> torch.Tensor:
    """Return the error of a scan in which each step rounds."""
    if name == "cumsum":
        error = partial.square().cumsum(dimension).sqrt() * STEP_ERROR
        error = error.maximum((_one_by_one(source, dimension) - partial).abs())
        return error.masked_fill(add_exactly(source.movedim(dimension, -1)).unsqueeze(dimension), 0.0)
    steps = torch.arange(1, source.shape[dimension] + 1, dtype=torch.float64, device=source.device)
    shape = [1] * source.dim()
    shape[dimension] = -1
    size = partial.abs().clamp_min(1.0 if name == "logcumsumexp" else 0.0)
    return size * steps.sqrt().reshape(shape) * STEP_ERROR


def _sum_error(rows: torch.Tensor) -> torch.Tensor:
    """Return the error of the sum of each row to which one element is added after the other."""
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


CARRIER, WIDE_CARRIER = torch.float32, torch.float64
"""Types that hold 16-bit numbers, and float32 ones, while roundings to 16 bits are emulated.

With each a step wider than its own, torch makes a number in `CARRIER` where the eager model makes one of 16 bits.
"""

EXPONENT_BITS = 0x7F800000
"""Bits of a float32's exponent."""

MIXED = (0x2C1B3C6D, 0x297A2D39)
"""Odd factors that mix the bits of a number."""


class NormsInWide(TorchFunctionMode):
    """Compute root mean square norms of `CARRIER` in the wider type, as torch computes those of 16 bits in float32."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Call a function of torch."""
        kwargs = kwargs or {}
        given = args[0] if args else kwargs.get("input")
        if func not in (rms_norm, torch.rms_norm) or given.dtype != CARRIER:
            return func(*args, **kwargs)
        if region_at_hand() is not None and has_policy("rms_norm"):
            return func(*args, **kwargs)  # which makes wide numbers there
        args, kwargs = tree_map_only(torch.Tensor, partial(torch.Tensor.to, dtype=WIDE_CARRIER), (args, kwargs))
        return func(*args, **kwargs).to(CARRIER)


class RoundedBetween(DispatchMode):
    """Round what operations round to 16 bits to the neighbour of the nearest number, up or down, equal numbers alike.

    A kernel that does not round such a number, or rounds it after another computation, is off by less.  A number that
    16 bits can hold stays: the mean of equal numbers is theirs.
    """

    def __init__(self, half: torch.dtype, turn: int) -> None:
        """Choose the directions.

        Args:
            half: type to which the eager model rounds the numbers that `CARRIER` holds.
            turn: number of the directions.
        """
        super().__init__()  # type: ignore[no-untyped-call]  # torch does not type it
        self._half = half
        self._turn = turn
        self.elements = 0
        """Elements that operations have made."""
        self.operations = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run one operation, and round its results otherwise where the eager model rounds them."""
        name = operation_name(func)
        results = func(*args, **(kwargs or {}))
        self.operations += 1
        self.elements += sum(tensor.numel() for tensor in tensors_of(results))
        source = {"_to_copy": args[:1], "copy_": args[1:2]}.get(name, ())
        if is_exact(func) and not (source and source[0].dtype == WIDE_CARRIER):
            return results
        if not func._schema.is_mutable:
            return tree_map(self._rounded, results)
        for result in tensors_of(results):
            result.copy_(self._rounded(result))
        return results

    def _rounded(self, value: Any) -> Any:
        if not isinstance(value, torch.Tensor) or value.dtype != CARRIER:
            return value
        held = value.to(self._half).to(CARRIER)
        bits = value.view(torch.int32)
        unit = (bits & EXPONENT_BITS).view(CARRIER) * torch.finfo(self._half).eps
        unit = unit.clamp_min(spacing(self._half))
        moved = (value + torch.where(self._goes_up(bits), unit, -unit)).to(self._half).to(CARRIER)
        return torch.where((held == value) | ~moved.isfinite(), value, moved)

    def _goes_up(self, bits: torch.Tensor) -> torch.Tensor:
        for factor in MIXED:
            bits = (bits ^ (bits >> 15) ^ self._turn) * factor
        return bits >= 0
