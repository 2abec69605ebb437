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
        for float32 problems 4 times the change of the element when each input moves by a few units in its last place,
        2^-18 of the output's typical size, which is that on normal inputs (`kopt.device.expected.typical`), and
        the smallest normal number

and, where torch permits TF32, by the error of the element with operands cut off to TF32 on top of that, which all
kernels with products of Triton have in common,

so that another order of summation passes, and an operand that is scaled before a product and rounded again, as in
flash attention.  So do the rounding errors of a difference that should be zero, as in the norm of a row of equal
elements, and exp(x) - 1 for expm1(x).  A computation in a lower precision does not
(`kopt.device.expected.calibration` proves it).  An element that eager gives is always right.

Where float64 and eager agree on an infinity or on NaN, it is the right value; where they disagree, or where float32 is
too narrow to compute an element, nothing is asked.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Collection, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import torch
from torch.utils._pytree import tree_map

from kopt.device.draws.distributions import Case
from kopt.device.expected.casts import CHOICES, IntegerCasts
from kopt.device.expected.decisions import Coarsest
from kopt.device.expected.emulation import Float32Arithmetic
from kopt.device.expected.outputs import run_model
from kopt.device.expected.products import InCutTF32, InFloat32
from kopt.device.expected.ties import BROKEN, CHOSEN, ORDERS, TiesBroken, is_unordered
from kopt.device.reference.anywhere import computing_in, copied_in
from kopt.device.reference.layout import copied_inputs, same_values
from kopt.device.reference.tree import tensors_of
from kopt.model.problem import Problem, Tolerance

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

HALF_TYPES = (torch.bfloat16, torch.float16)
"""Types in which kernels round operands once more."""

MOVED = 4.0
"""Largest move of a float32 input, units in the last place, and error over the change that follows from it."""

MOVES = 2
"""Number of moved sets of inputs."""

MOVED_ELEMENTS = 1 << 24
"""Largest inputs, elements, that are moved."""

JUMP = 1e-3
"""Change of one element, over the larger of it and the root mean square, that is a jump and no rounding error."""

FLOOR = 2.0**-18
"""Error over an output's typical size that is always allowed to a kernel that computes in float32."""

FLOAT64_ROOM = 64
"""Roundings that a float64 output may be off by: its reference, in float64 too, is no more exact than the output."""

ROUNDED_ELEMENTS = 1 << 27
"""Largest inputs, elements, whose rounding is tried."""


class Allowance(NamedTuple):
    """Calibrated tolerance of one tensor: an element may be off by at least `absolute + relative * |right value|`."""

    absolute: float
    relative: float
    """Allowed error over the size of the element."""
    scale: float
    """Root mean square of the elements."""


@dataclass(frozen=True)
class Evidence:
    """Values of one tensor of a result, as `in_dtype` gives them, from which its right value and tolerance follow."""

    exact: torch.Tensor
    """The model in float64."""
    float32: torch.Tensor | None
    """The model in float32; None where the tolerance is declared."""
    emulated: torch.Tensor | None = None
    """The model in float32 with the arithmetic of a GPU; None where this cannot matter."""
    change: torch.Tensor | None = None
    """Change of the model in float64, perhaps of a sample, when inputs are rounded once more; None for wide types."""
    moved: tuple[torch.Tensor, ...] = ()
    """The model in float64 on float32 inputs that are moved a little; empty for other types."""
    cut: torch.Tensor | None = None
    """The model in float32, operands cut off to TF32; None where nothing is multiplied, or torch permits no TF32."""
    untied: tuple[torch.Tensor, ...] = ()
    """The model with ties broken in several orders; empty where torch gives the order."""
    chosen: tuple[torch.Tensor, ...] = ()
    """The model with other choices of a maximum among elements that rounding made equal; empty where there are none."""
    cast: tuple[torch.Tensor, ...] = ()
    """The model with other results of casts that have no right one (`IntegerCasts`); empty where there are none."""
    step: float = 0.0
    """Relative distance of the results of the coarsest decision on a computed number; 0 where there is none."""


def evidence(
    problem: Problem, case: Case, changed: Collection[str] = (), sample: Case | None = None, *, known: bool = False
) -> list[Evidence]:
    """Compute, for each tensor of a case's result, the values from which its right value and its tolerance follow.

    Args:
        problem: the problem.
        case: model and inputs.
        changed: names of the arguments that count as changed.
        sample: a part of the case that shows what one more rounding changes; None for the case itself.
        known: leave out what only the `Allowance` of a tensor follows from.
    """
    tensors = tensors_of(list(case.inputs))
    dtypes = {tensor.dtype for tensor in (*tensors, *case.model.parameters())}
    rounded = torch.float64 not in dtypes
    casts, ties, decided = IntegerCasts(), TiesBroken(None, rounded=rounded, operations=CHOSEN), Coarsest()
    with casts, ties, decided:
        exact = in_dtype(case, torch.float64, changed=changed)
    results = _in_all_orders(case, changed, rounded) if is_unordered(problem.reference) else []
    choices = _in_all_orders(case, changed, rounded, CHOSEN) if ties.moved else []
    choice_of_cast = range(CHOICES if casts.undefined else 0)
    cast = [in_dtype(case, torch.float64, changed=changed, within=IntegerCasts(at)) for at in choice_of_cast]
    open_results = [[tuple(run[at] for run in runs) for at in range(len(exact))] for runs in (results, choices, cast)]
    if problem.tolerance is not None:
        return [
            Evidence(tensor, None, None, None, (), None, *any_)
            for tensor, *any_ in zip(exact, *open_results, strict=True)
        ]
    nothing = [None] * len(exact)
    emulated: Sequence[torch.Tensor | None] = nothing
    changes: Sequence[torch.Tensor | None] = nothing
    moves: list[tuple[torch.Tensor, ...]] = []
    elements = sum(tensor.numel() for tensor in tensors)
    if torch.float32 in dtypes and not dtypes & set(HALF_TYPES):
        if not known:
            emulated = in_dtype(case, torch.float32, changed=changed, within=Float32Arithmetic())
        if elements <= MOVED_ELEMENTS:
            moves = [in_dtype(case, torch.float64, partial(_moved, turn), changed) for turn in range(MOVES)]
    if not known and (torch.float64 in dtypes or (dtypes & set(HALF_TYPES) and elements <= ROUNDED_ELEMENTS)):
        before = exact if sample is None else in_dtype(sample, torch.float64, changed=changed)
        after = in_dtype(sample or case, torch.float64, _rounded_once_more, changed)
        changes = [one - other for one, other in zip(after, before, strict=True)]
    products = InFloat32()
    float32 = in_dtype(
        case, torch.float64 if torch.float64 in dtypes else torch.float32, changed=changed, within=products
    )
    cut: Sequence[torch.Tensor | None] = nothing
    if products.permitted and not dtypes & {*HALF_TYPES, torch.float64}:
        cut = in_dtype(case, torch.float32, changed=changed, within=InCutTF32())
    moved = [tuple(result[place] for result in moves) for place in range(len(exact))]
    steps = [decided.step] * len(exact)
    values = zip(exact, float32, emulated, changes, moved, cut, *open_results, steps, strict=True)
    return [Evidence(*of_tensor) for of_tensor in values]


def _in_all_orders(
    case: Case, changed: Collection[str], rounded: bool, operations: tuple[str, ...] = BROKEN
) -> list[tuple[torch.Tensor, ...]]:
    """Compute the result with ties broken in several orders, in float64 and in the dtypes of eager."""
    results = []
    for order in range(ORDERS):
        within = TiesBroken(order, rounded=rounded, operations=operations)
        results.append(in_dtype(case, torch.float64, changed=changed, within=within))
        inputs = tree_map(lambda value: value.clone() if isinstance(value, torch.Tensor) else value, case.inputs)
        with TiesBroken(order, rounded=False, operations=operations):
            tensors = run_model(copy.deepcopy(case.model), inputs, changed).tensors
        results.append(tuple(tensor if tensor.is_floating_point() else tensor.to(torch.int64) for tensor in tensors))
    return results


def in_dtype(
    case: Case,
    dtype: torch.dtype,
    alter: Callable[[object], object] = lambda value: value,
    changed: Collection[str] = (),
    within: AbstractContextManager[object] | None = None,
) -> tuple[torch.Tensor, ...]:
    """Compute the model's result in `dtype`, and return its tensors as float64, integers and truth values as int64.

    Args:
        case: the model and its inputs.
        dtype: type of all floating-point inputs and parameters.
        alter: changes each input; it gets the input in its own type, and may return a wider one.
        changed: names of the arguments that count as changed; they follow the output's tensors.
        within: context in which the model runs.
    """
    model = copy.deepcopy(case.model).to(dtype)
    inputs = tree_map(lambda value: copied_in(alter(value), dtype), case.inputs)
    narrow = InFloat32() if dtype == torch.float32 else nullcontext()
    with computing_in(dtype, case.inputs), narrow, within or nullcontext():
        tensors = run_model(model, inputs, changed).tensors
    return _widened(tensors)


def in_own_dtypes(
    case: Case, changed: Collection[str], within: AbstractContextManager[object]
) -> tuple[torch.Tensor, ...]:
    """Compute the model's result as the eager model does, and return its tensors as `in_dtype` does.

    Args:
        case: the model and its inputs.
        changed: names of the arguments that count as changed; they follow the output's tensors.
        within: context in which the model runs.
    """
    model, inputs = copy.deepcopy(case.model), copied_inputs(case.inputs)
    with within:
        tensors = run_model(model, inputs, changed).tensors
    return _widened(tensors)


def _widened(tensors: Sequence[torch.Tensor]) -> tuple[torch.Tensor, ...]:
    return tuple(tensor.to(torch.float64 if tensor.is_floating_point() else torch.int64) for tensor in tensors)


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
    tolerance = calibrated(eager, found.float32, found.exact, finite)
    always = max(_least(eager.dtype), FLOOR * typical if eager.dtype != torch.float64 else 0.0)
    absolute = max(tolerance.absolute, _arithmetic_error(found, finite), always)
    return Allowance(absolute, tolerance.relative, scale)


def calibrated(eager: torch.Tensor, float32: torch.Tensor, reference: torch.Tensor, finite: torch.Tensor) -> Tolerance:
    """Return the tolerance that follows from the errors of eager and of float32, as the module's docstring says."""
    unit, given = _unit(eager.dtype), eager.double()
    usable = finite & given.isfinite()
    size, error = reference.abs(), (given - reference).abs()
    scale = root_mean_square(size, usable)
    large = size >= SMALL * scale
    ratio = _largest(error / size.clamp_min(torch.finfo(torch.float64).tiny), usable & large)
    least = 1e-4 if eager.dtype != torch.float64 else 0.0
    relative = min(FACTOR * max(unit, ratio), max(MOST_UNITS * unit, least))
    beyond = FACTOR * _largest(error - relative / FACTOR * size, usable & ~large)
    always = FLOAT32_FACTOR * _largest((float32 - reference).abs(), usable & float32.isfinite())
    if eager.dtype in (torch.float32, torch.float64):
        relative = max(relative, MOST_UNITS * unit)  # right kernels add in any order
    return Tolerance(absolute=max(min(beyond, max(4 * unit, least) * scale), always), relative=relative)


def _arithmetic_error(found: Evidence, finite: torch.Tensor) -> float:
    """Return the absolute error that a GPU's arithmetic, or one more rounding of the inputs, may cause."""
    error = 0.0
    if found.emulated is not None:
        usable = finite & found.emulated.isfinite()
        error = EMULATED_FACTOR * _largest((found.emulated - found.exact).abs(), usable)
    if found.change is not None:
        usable = found.change.isfinite()
        usable = usable & finite if usable.shape == finite.shape else usable
        most = 1 + math.sqrt(2 * math.log(2 * max(int(finite.sum()), 1)))  # the largest of so many normal numbers
        error = max(error, most * root_mean_square(found.change, usable))
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


def _rounded_once_more(value: object) -> object:
    """Move each element by up to half a unit in its last place."""
    if not isinstance(value, torch.Tensor) or not value.is_floating_point():
        return value
    wide = value.double()
    place = torch.ldexp(torch.full_like(wide, torch.finfo(value.dtype).eps / 2), torch.frexp(wide).exponent)
    place = place.clamp_min(_spacing(value.dtype))
    moved = wide + place * (torch.rand(wide.shape, device=wide.device) - 0.5)
    return torch.where(wide.isfinite() & (wide != 0), moved, wide)


def _moved(turn: int, value: object) -> object:
    """Move each float32 element by up to a few units in its last place."""
    if not isinstance(value, torch.Tensor) or value.dtype != torch.float32:
        return value
    noise = torch.Generator(value.device).manual_seed(turn)
    share = torch.rand(value.shape, generator=noise, device=value.device, dtype=torch.float64) * 2 - 1
    return value.double() * (1 + MOVED * torch.finfo(torch.float32).eps * share)


def _unit(dtype: torch.dtype) -> float:
    return torch.finfo(dtype).eps / 2 if dtype.is_floating_point else 0.0


def _spacing(dtype: torch.dtype) -> float:
    """Return the distance of the numbers next to zero."""
    return torch.finfo(dtype).smallest_normal * torch.finfo(dtype).eps


def _least(dtype: torch.dtype) -> float:
    """Return the largest number that a kernel may replace by zero; GPUs keep the small numbers of float16."""
    return _spacing(dtype) if dtype == torch.float16 else torch.finfo(dtype).smallest_normal


def root_mean_square(values: torch.Tensor, where: torch.Tensor) -> float:
    """Return the root mean square of the numbers in chosen places; 0 where there are none."""
    count = int(where.sum())
    return float(torch.where(where, values, 0.0).square().sum() / count) ** 0.5 if count else 0.0


def _largest(values: torch.Tensor, where: torch.Tensor) -> float:
    """Return the largest number in chosen places; 0 where it is negative or not finite, or there are none."""
    largest = float(torch.where(where, values, 0.0).max()) if values.numel() else 0.0
    return largest if math.isfinite(largest) and largest > 0 else 0.0
