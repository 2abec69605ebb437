"""Calibrate the tolerance of an output.

The tolerance is calibrated, not guessed.  With e the error of the eager model in the problem's own dtype, u the unit
roundoff of the output's dtype and S the root mean square of the reference, an element may be off by

    absolute + relative * |reference|
    relative = 2 max(u, largest e / |reference| where |reference| >= S / 10), at most 16 u (or 1e-4, for float32), and
        at least 16 u (2^-20) for float32 and float64 outputs: a right kernel may add in any order
    absolute = 2 (largest e beyond that where |reference| < S / 10), at most 4 u S (or 1e-4 S), and at least
        16 times the largest error of the same model in float32,
        3 times its error with the sums, losses, scans and convolutions of a GPU (`kopt.device.expected.emulation`),
        for 16-bit problems the change of the output when each input is rounded once more, in standard deviations,
        so, too, its change when conversions to 16-bit types that the reference names do not round (`Evidence.kept`),
        for float32 problems 4 times the change of the element when each input moves by a few units in its last place,
        2^-18 of the output's typical size, which is that on normal inputs (`kopt.device.expected.typical`), and
        the smallest normal number

and on top of that by the element's change without these conversions and, where torch permits TF32, by its error with
operands cut off to TF32, which all kernels with products of Triton have in common,

so that another order of summation passes, and an operand that is scaled before a product and rounded again, as in
flash attention.  So do the rounding errors of a difference that should be zero, as in the norm of a row of equal
elements, and exp(x) - 1 for expm1(x).  A computation in a lower precision does not
(`kopt.device.expected.calibration` proves it).  An element that eager gives is always right.

Where float64 and eager agree on an infinity or on NaN, it is the right value; where they disagree, or where float32 is
too narrow to compute an element, nothing is asked.

Where a reference names a 16-bit type, u in the largest relative and absolute errors is that of this type, to which
eager rounds on the way.  A conversion to it is a part of what the reference says: a kernel may leave it out where it
goes on computing, but not where the result of the conversion is the output.

A result of a reference with 16-bit numbers, or that names such a type, that is not right by that is compared once more:
an element may be off by as much as other roundings to 16 bits on the way, or none, change it
(`kopt.device.expected.expected_output.with_other_roundings`).
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch

from kopt.device.expected.evidence import MOVED, Evidence
from kopt.device.expected.rounding import spacing
from kopt.device.reference.layout import same_values
from kopt.model.problem import Tolerance

FACTOR = 2.0
"""Largest error over the eager model's own error."""

FLOAT32_FACTOR = 16.0
"""Error over the float32 model's own error that is always allowed: room for another order of summation."""

MOST_UNITS = 16
"""Largest relative error, in unit roundoffs, of 16-bit outputs, and the least one that float32 and float64 outputs are
allowed."""

EMULATED_FACTOR = 3.0
"""Error over that of emulated float32 arithmetic that is always allowed."""

SMALL = 0.1
"""Share of the root mean square below which the absolute part of the tolerance decides."""

UNSTABLE = 1e-3
"""Error of the float32 model, over the larger of an element and the root mean square, from which nothing is asked."""


JUMP = 1e-3
"""Change of one element, over the larger of it and the root mean square, that is a jump and no rounding error."""

FLOOR = 2.0**-18
"""Error over an output's typical size that is always allowed to a kernel that computes in float32."""

FLOAT64_ROOM = 64
"""Roundings that a float64 output may be off by: its reference, in float64 too, is no more exact than the output."""


class Allowance(NamedTuple):
    """Calibrated tolerance of one tensor: an element may be off by at least `absolute + relative * |right value|`."""

    absolute: float
    relative: float
    """Allowed error over the size of the element."""
    scale: float
    """Root mean square of the elements."""


def allowed_error(
    eager: torch.Tensor,
    found: Evidence,
    declared: Tolerance | None,
    typical: float = 0.0,
    known: Allowance | None = None,
) -> tuple[torch.Tensor, Allowance | None]:
    """Return the largest allowed error of each element of a tensor of floating-point numbers, and what it follows from.

    It is NaN where nothing is asked, and 0 where the right value is an infinity or NaN.

    Args:
        eager: the eager model's tensor, whose dtype is that of the output.
        found: what the right value follows from.
        declared: the problem's own tolerance.
        typical: root mean square of the tensor on the problem's normal inputs.
        known: what an earlier call has found for this very tensor; None where it is not known.
    """
    exact, given = found.exact, eager.double()
    agreed = same_values(given, exact) & (same_values(found.float32, exact) if found.float32 is not None else True)
    finite = exact.isfinite() & exact.to(eager.dtype).double().isfinite() & given.isfinite()
    for other in found.cast:
        finite &= same_values(other, exact)
    if declared is not None:
        allowed = declared.absolute + declared.relative * exact.abs()
    else:
        assert found.float32 is not None
        scale = known.scale if known is not None else root_mean_square(exact, finite)
        finite &= ~_unstable(found.float32, exact, scale, eager.dtype)
        known = known or _allowance(eager, found, finite, typical, scale)
        allowed = (known.absolute + known.relative * exact.abs()).maximum((given - exact).abs())
        if found.moved:
            allowed = allowed.maximum(_conditioning(found, finite))
        if found.kept is not None:
            allowed = allowed + found.kept.abs().where(finite, 0.0)
        if found.cut is not None:
            allowed = allowed + _shift(found.cut, exact, finite)
        if eager.dtype == torch.float64:
            size = exact.abs() + root_mean_square(exact, finite)
            allowed = allowed.maximum(FLOAT64_ROOM * _unit(eager.dtype) * size)
    return torch.where(finite, allowed, torch.where(agreed & ~exact.isfinite(), 0.0, torch.nan)), known


def _allowance(
    eager: torch.Tensor, found: Evidence, finite: torch.Tensor, typical: float, scale: float
) -> Allowance:  # fmt: skip
    """Find the allowance of a tensor; `finite` says where an error is allowed at all."""
    assert found.float32 is not None
    tolerance = calibrated(eager, found.float32, found.exact, finite, found.named)
    always = always_allowed(eager.dtype, typical)
    absolute = max(tolerance.absolute, _arithmetic_error(found, finite), always.absolute)
    return Allowance(absolute, tolerance.relative, scale)


def always_allowed(dtype: torch.dtype, typical: float) -> Allowance:
    """Return what every calibrated tolerance of a tensor allows, whatever else is known of it.

    Args:
        dtype: type of floating-point numbers of the tensor.
        typical: root mean square of the tensor on the problem's normal inputs; 0 where it is not known.
    """
    wide = dtype in (torch.float32, torch.float64)  # right kernels add in any order
    absolute = max(_least(dtype), FLOOR * typical if dtype != torch.float64 else 0.0)
    return Allowance(absolute, (MOST_UNITS if wide else FACTOR) * _unit(dtype), 0.0)


def calibrated(
    eager: torch.Tensor,
    float32: torch.Tensor,
    reference: torch.Tensor,
    finite: torch.Tensor,
    named: torch.dtype | None = None,
) -> Tolerance:
    """Return the tolerance that follows from the errors of eager and of float32, as the module's docstring says.

    Args:
        eager: the eager model's tensor.
        float32: the tensor in float32.
        reference: the right values.
        finite: where an error is allowed at all.
        named: 16-bit type in which the reference says that it computes; None for none.
    """
    unit, given = _unit(eager.dtype), eager.double()
    coarse = max(unit, _unit(named)) if named is not None else unit
    usable = finite & given.isfinite()
    size, error = reference.abs(), (given - reference).abs()
    scale = root_mean_square(size, usable)
    large = size >= SMALL * scale
    ratio = _largest(error / size.clamp_min(torch.finfo(torch.float64).tiny), usable & large)
    least = 1e-4 if eager.dtype != torch.float64 else 0.0
    relative = min(FACTOR * max(unit, ratio), max(MOST_UNITS * coarse, least))
    beyond = FACTOR * _largest(error - relative / FACTOR * size, usable & ~large)
    always = FLOAT32_FACTOR * _largest((float32 - reference).abs(), usable & float32.isfinite())
    relative = max(relative, always_allowed(eager.dtype, 0.0).relative)
    return Tolerance(absolute=max(min(beyond, max(4 * coarse, least) * scale), always), relative=relative)


def _arithmetic_error(found: Evidence, finite: torch.Tensor) -> float:
    """Return the absolute error that a GPU's arithmetic, or one more rounding of the inputs, may cause."""
    error = 0.0
    if found.emulated is not None:
        usable = finite & found.emulated.isfinite()
        error = EMULATED_FACTOR * _largest((found.emulated - found.exact).abs(), usable)
    for change in (found.change, found.kept):
        if change is None:
            continue
        usable = change.isfinite()
        usable = usable & finite if usable.shape == finite.shape else usable
        most = 1 + math.sqrt(2 * math.log(2 * max(int(finite.sum()), 1)))  # the largest of so many normal numbers
        error = max(error, most * root_mean_square(change, usable))
    return error if math.isfinite(error) else 0.0


def _conditioning(found: Evidence, finite: torch.Tensor) -> torch.Tensor:
    """Return the error of each element that small errors of the inputs may cause.

    A change by luck may be zero, so that the median change along each dimension is allowed, too.  The change of one
    element that is a jump, as where a threshold lies on the element's very value, says nothing.
    """
    changes = [(moved - found.exact).abs() for moved in found.moved]
    change = torch.stack(changes).amax(0).nan_to_num(0, 0, 0).where(finite, 0.0)
    size = found.exact.abs().clamp_min(root_mean_square(found.exact, finite))
    error = torch.where(change <= JUMP * size, change, 0.0)
    for dimension, length in enumerate(change.shape):
        if length > 2:
            error = error.maximum(change.median(dim=dimension, keepdim=True).values)
    return MOVED * error


def _shift(cut: torch.Tensor, exact: torch.Tensor, finite: torch.Tensor) -> torch.Tensor:
    """Return how far operands that are cut off to TF32 move each element: all kernels that cut them off alike."""
    return torch.where(finite & cut.isfinite(), (cut - exact).abs(), 0.0)


def _unstable(float32: torch.Tensor, exact: torch.Tensor, scale: float, dtype: torch.dtype) -> torch.Tensor:
    """Return where float32 is too narrow to compute an element of a tensor whose root mean square is `scale`."""
    limit = max(16 * _unit(dtype), UNSTABLE) * exact.abs().clamp_min(scale)
    return ~((float32 - exact).abs() <= limit)


def _unit(dtype: torch.dtype) -> float:
    return torch.finfo(dtype).eps / 2 if dtype.is_floating_point else 0.0


def _least(dtype: torch.dtype) -> float:
    """Return the largest number that a kernel may replace by zero; GPUs keep the small numbers of float16."""
    return spacing(dtype) if dtype == torch.float16 else torch.finfo(dtype).smallest_normal


def root_mean_square(values: torch.Tensor, where: torch.Tensor) -> float:
    """Return the root mean square of the numbers in chosen places; 0 where there are none."""
    count = int(where.sum())
    return float(torch.where(where, values, 0.0).square().sum() / count) ** 0.5 if count else 0.0


def _largest(values: torch.Tensor, where: torch.Tensor) -> float:
    """Return the largest number in chosen places; 0 where it is negative or not finite, or there are none."""
    largest = float(torch.where(where, values, 0.0).max()) if values.numel() else 0.0
    return largest if math.isfinite(largest) and largest > 0 else 0.0
