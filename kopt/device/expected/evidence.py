"""Run a reference in the ways from which the right values of an output and their tolerance follow.

Evidence is the model's result in float64 and in float32, with the arithmetic of a GPU, on inputs that are rounded once
more or moved a little, and with every choice that the reference leaves open.
"""

from __future__ import annotations

import copy
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from functools import partial

import torch
from torch.utils._pytree import tree_map

from kopt.device.draws.distributions import Case
from kopt.device.expected.casts import CHOICES, IntegerCasts
from kopt.device.expected.decisions import Coarsest, Decisions, Watched
from kopt.device.expected.emulation import Float32Arithmetic
from kopt.device.expected.outputs import run_model
from kopt.device.expected.products.float32 import InCutTF32, InFloat32
from kopt.device.expected.rounding import spacing
from kopt.device.expected.roundings.named import changes_without, is_rounding
from kopt.device.expected.runs import REPEATED_ELEMENTS, deciding_alike, in_dtype
from kopt.device.expected.ties import BROKEN, CHOSEN, ORDERS, TiesBroken, is_unordered
from kopt.device.reference.other_type import HALF_TYPES
from kopt.device.reference.tree import tensors_of
from kopt.model.problem import Problem

MOVED = 4.0
"""Largest move of a float32 input, units in the last place, and error over the change that follows from it."""

MOVES = 2
"""Number of moved sets of inputs."""

ROUNDED_ELEMENTS = 1 << 27
"""Largest inputs, elements, whose rounding is tried."""


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
    """Distance between neighbouring results of the coarsest rounding, cast or comparison of a computed number.

    It is relative to the number for casts to a narrower type, 1 for whole numbers and comparisons, and 0 where there is
    no such operation.
    """
    decisions: Decisions | None = None
    """The decisions of the model in float64; None where they are not known, or there are none."""
    named: torch.dtype | None = None
    """Coarsest 16-bit type that the reference names and that is narrower than the type it computes in; else None."""
    kept: torch.Tensor | None = None
    """Change of the model in float64, 0 where it is no rounding error, when conversions to named 16-bit types do not
    round, save for one of which the tensor holds the very results; None where there are no such types."""


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
    names: set[torch.dtype] = set()
    with casts, ties, decided:
        exact = in_dtype(case, torch.float64, changed=changed, names=names)
    runs = (
        _in_all_orders(case, changed, rounded) if is_unordered(problem.reference) else [],
        _in_all_orders(case, changed, rounded, CHOSEN) if ties.moved else [],
        _with_other_casts(case, changed) if casts.undefined else [],
    )
    open_results = [[tuple(run[at] for run in each) for at in range(len(exact))] for each in runs]
    if problem.tolerance is not None:
        return [
            Evidence(tensor, None, None, None, (), None, *any_)
            for tensor, *any_ in zip(exact, *open_results, strict=True)
        ]
    decisions = None
    if decided.decides:
        decisions = Decisions()
        in_dtype(case, torch.float64, changed=changed, within=Watched(decisions.begin()))
    nothing = [None] * len(exact)
    emulated: Sequence[torch.Tensor | None] = nothing
    changes: Sequence[torch.Tensor | None] = nothing
    moves: list[tuple[torch.Tensor, ...]] = []
    elements = sum(tensor.numel() for tensor in tensors)
    if torch.float32 in dtypes and not dtypes & set(HALF_TYPES):
        if not known:
            within = deciding_alike(decisions, Float32Arithmetic(), rough=True, noted=False)
            emulated = in_dtype(case, torch.float32, changed=changed, within=within)
        if elements <= REPEATED_ELEMENTS:
            moves = [
                in_dtype(case, torch.float64, partial(_moved, turn), changed, deciding_alike(decisions, noted=False))
                for turn in range(MOVES)
            ]
    if not known and (torch.float64 in dtypes or (dtypes & set(HALF_TYPES) and elements <= ROUNDED_ELEMENTS)):
        changes = _changes_by_rounding(case, exact, decisions, changed, sample)
    products = InFloat32()
    float32 = in_dtype(
        case, torch.float64 if torch.float64 in dtypes else torch.float32, changed=changed, within=products
    )
    cut: Sequence[torch.Tensor | None] = nothing
    if products.permitted and not dtypes & {*HALF_TYPES, torch.float64}:
        within = deciding_alike(decisions, InCutTF32(), rough=True, noted=False)
        cut = in_dtype(case, torch.float32, changed=changed, within=within)
    moved = [tuple(result[place] for result in moves) for place in range(len(exact))]
    steps = [decided.step] * len(exact)
    alike = [decisions] * len(exact)
    values = zip(exact, float32, emulated, changes, moved, cut, *open_results, steps, alike, strict=True)
    found = [Evidence(*of_tensor) for of_tensor in values]
    if not names:
        return found
    named = max(names, key=lambda dtype: torch.finfo(dtype).eps)
    kept = changes_without(case, exact, decided, decisions, changed)
    small = [
        change.where(is_rounding(change, tensor), 0.0) if change is not None else None
        for change, tensor in zip(kept, exact, strict=True)
    ]
    return [replace(one, named=named, kept=change) for one, change in zip(found, small, strict=True)]


def _changes_by_rounding(
    case: Case, exact: Sequence[torch.Tensor], decisions: Decisions | None, changed: Collection[str],
    sample: Case | None,
) -> list[torch.Tensor]:  # fmt: skip
    """Return how one more rounding of the inputs changes each tensor of the result, or of the sample's.

    Args:
        case: model and inputs.
        exact: the case's result in float64.
        decisions: its decisions; None where they are not known, or there are none.
        changed: names of the arguments that count as changed.
        sample: a part of the case.
    """
    before = exact
    if sample is not None:
        decisions = Decisions() if decisions is not None else None
        before = in_dtype(sample, torch.float64, changed=changed, within=deciding_alike(decisions))
    within = deciding_alike(decisions, noted=False)
    after = in_dtype(sample or case, torch.float64, _rounded_once_more, changed, within)
    return [one - other for one, other in zip(after, before, strict=True)]


def _with_other_casts(case: Case, changed: Collection[str]) -> list[tuple[torch.Tensor, ...]]:
    """Compute the result in float64 with each choice of what casts give that have no right result."""
    return [in_dtype(case, torch.float64, changed=changed, within=IntegerCasts(choice)) for choice in range(CHOICES)]


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


def _rounded_once_more(value: object) -> object:
    """Move each element by up to half a unit in its last place."""
    if not isinstance(value, torch.Tensor) or not value.is_floating_point():
        return value
    wide = value.double()
    place = torch.ldexp(torch.full_like(wide, torch.finfo(value.dtype).eps / 2), torch.frexp(wide).exponent)
    place = place.clamp_min(spacing(value.dtype))
    moved = wide + place * (torch.rand(wide.shape, device=wide.device) - 0.5)
    return torch.where(wide.isfinite() & (wide != 0), moved, wide)


def _moved(turn: int, value: object) -> object:
    """Move each float32 element by up to a few units in its last place."""
    if not isinstance(value, torch.Tensor) or value.dtype != torch.float32:
        return value
    noise = torch.Generator(value.device).manual_seed(turn)
    share = torch.rand(value.shape, generator=noise, device=value.device, dtype=torch.float64) * 2 - 1
    return value.double() * (1 + MOVED * torch.finfo(torch.float32).eps * share)
