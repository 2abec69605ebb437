"""Run a reference in the ways from which the right values of an output and their tolerance follow.

Evidence is the model's result in float64 and in float32, with the arithmetic of a GPU, on inputs that are rounded once
more or moved a little, and with every choice that the reference leaves open.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, replace
from functools import partial

import torch
from torch.utils._pytree import tree_map

from kopt.device.draws.distributions import Case
from kopt.device.expected.casts import CHOICES, IntegerCasts
from kopt.device.expected.decisions import Coarsest, Decisions, Watched
from kopt.device.expected.emulation import CARRIER, WIDE_CARRIER, Float32Arithmetic, NormsInWide, RoundedBetween
from kopt.device.expected.outputs import run_model
from kopt.device.expected.products.float32 import InCutTF32, InFloat32, fused_apart
from kopt.device.expected.products.wide_convolutions import WideConvolutions
from kopt.device.expected.rounding import spacing
from kopt.device.expected.ties import BROKEN, CHOSEN, ORDERS, TiesBroken, is_unordered
from kopt.device.reference.layout import copied_inputs
from kopt.device.reference.other_type import HALF_TYPES, computing_in, copied_in
from kopt.device.reference.tree import tensors_of
from kopt.model.problem import Problem

MOVED = 4.0
"""Largest move of a float32 input, units in the last place, and error over the change that follows from it."""

MOVES = 2
"""Number of moved sets of inputs."""

MOVED_ELEMENTS = 1 << 24
"""Largest inputs, elements, that are moved."""

ROUNDED_ELEMENTS = 1 << 27
"""Largest inputs, elements, whose rounding is tried."""

ROUNDINGS = (16, 64)
"""Runs in which what the eager model rounds to 16 bits on the way is rounded otherwise: some, and where these decide an
element many."""

ROUNDING_WORK = (1 << 29, 1 << 14)
"""Most elements that these runs compute and convert, and most operations."""

ROUNDING = 0.25
"""Largest change of an element, over the larger of it and the root mean square, that counts as a rounding error."""

DECIDES = 16
"""Change of an element, in units in the last place of the larger of it and the root mean square, that decides it."""


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
        if elements <= MOVED_ELEMENTS:
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
    kept = _changes_without(case, exact, decided, decisions, changed)
    small = [
        change.where(_is_rounding(change, tensor), 0.0) if change is not None else None
        for change, tensor in zip(kept, exact, strict=True)
    ]
    return [replace(one, named=named, kept=change) for one, change in zip(found, small, strict=True)]


def _changes_without(
    case: Case, exact: Sequence[torch.Tensor], first: Coarsest, decisions: Decisions | None, changed: Collection[str]
) -> list[torch.Tensor | None]:
    """Return how each tensor of the result changes when conversions to named 16-bit types do not round.

    None stands for integers.

    Args:
        case: model and inputs.
        exact: the case's result in float64.
        first: the mode that saw how it was computed.
        decisions: its decisions; None where there are none.
        changed: names of the arguments that count as changed.
    """
    within = deciding_alike(decisions, rough=True, noted=False)
    others = in_dtype(case, torch.float64, changed=changed, within=within, rounds=False)
    return [
        (other.to(first.rounded_to(tensor)) - tensor).nan_to_num(0, 0, 0) if tensor.is_floating_point() else None
        for tensor, other in zip(exact, others, strict=True)
    ]


def _is_rounding(change: torch.Tensor, exact: torch.Tensor) -> torch.Tensor:
    """Return where the change of an element is small enough for a rounding error."""
    size = exact.abs().nan_to_num(0, 0, 0)
    return change.abs() <= ROUNDING * size.maximum(size.square().mean().sqrt())


def large_changes_without(case: Case, changed: Collection[str] = ()) -> list[torch.Tensor | None]:
    """Return by how much conversions to named 16-bit types move each element of a result, where that is much.

    It is 0 where the change is as small as a rounding error (`Evidence.kept`), and None for integers.

    Args:
        case: model and inputs.
        changed: names of the arguments that count as changed.
    """
    first = Coarsest()
    exact = in_dtype(case, torch.float64, changed=changed, within=first)
    decisions = Decisions() if first.decides else None
    if decisions is not None:
        in_dtype(case, torch.float64, changed=changed, within=Watched(decisions.begin()))
    changes = _changes_without(case, exact, first, decisions, changed)
    return [
        change.abs().masked_fill(_is_rounding(change, tensor), 0.0) if change is not None else None
        for change, tensor in zip(changes, exact, strict=True)
    ]


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


def changes_between(
    case: Case, exact: Sequence[torch.Tensor], changed: Collection[str] = (), named: torch.dtype | None = None
) -> list[torch.Tensor] | None:
    """Return the largest change of each element of a result when what eager rounds to 16 bits is rounded otherwise.

    None where the model has no numbers of 16 bits, or some of float64, or computes too much for so many runs.  Under
    `torch.autocast` and in conversions to a 16-bit type that the reference names, eager rounds, too.

    Args:
        case: model and inputs.
        exact: the case's result in float64.
        changed: names of the arguments that count as changed.
        named: 16-bit type that the reference names, which counts where no input or parameter has one; None for none.
    """
    tensors = tensors_of(list(case.inputs))
    dtypes = {tensor.dtype for tensor in (*tensors, *case.model.parameters())}
    elements = sum(tensor.numel() for tensor in (*tensors, *case.model.parameters()))
    halves = dtypes & set(HALF_TYPES) or ({named} if named is not None else set())
    if not halves or torch.float64 in dtypes or elements > MOVED_ELEMENTS:
        return None
    half = max(halves, key=lambda dtype: torch.finfo(dtype).eps)
    decisions = Decisions()
    in_dtype(case, torch.float64, changed=changed, within=Watched(decisions.begin()))
    few, many = ROUNDINGS
    largest = [torch.zeros_like(tensor, dtype=torch.float64) for tensor in exact]
    turn = 0
    while turn < few or (turn < many and any(map(partial(_decides, torch.finfo(half).eps), largest, exact))):
        rounded = RoundedBetween(half, turn)
        within = deciding_alike(decisions, rounded, rough=True, noted=False)
        for most, tensor, right in zip(largest, _in_wider(case, changed, half, within), exact, strict=True):
            change = (tensor.to(right.device) - right).abs().double()
            torch.maximum(most, change.nan_to_num(0, 0, 0), out=most)
        if turn == 0:
            work = (elements + rounded.elements, rounded.operations)
            affordable = min(limit // max(one, 1) for limit, one in zip(ROUNDING_WORK, work, strict=True))
            if affordable < few:
                return None
            many = min(many, affordable)
        turn += 1
    return largest


def _decides(unit: float, change: torch.Tensor, exact: torch.Tensor) -> bool:
    """Return whether changes are larger than small steps of an element, a unit being relative to its size."""
    size = exact.abs().double().nan_to_num(0, 0, 0)
    return bool((change > DECIDES * unit * size.maximum(size.square().mean().sqrt())).any())


def _in_wider(
    case: Case, changed: Collection[str], half: torch.dtype, within: AbstractContextManager[object]
) -> tuple[torch.Tensor, ...]:
    """Compute the model's result with all numbers one type wider than its own, and return its tensors as `in_dtype`."""

    def wider(tensor: torch.Tensor) -> torch.Tensor:
        return tensor.to(WIDE_CARRIER if tensor.dtype == torch.float32 else CARRIER)

    model = copy.deepcopy(case.model)
    model = model._apply(lambda tensor: wider(tensor) if tensor.is_floating_point() else tensor)
    inputs = tree_map(
        lambda value: copied_in(value, wider(value).dtype) if isinstance(value, torch.Tensor) else value, case.inputs
    )
    with ExitStack() as stack:
        stack.enter_context(computing_in(WIDE_CARRIER, case.inputs, CARRIER, half))
        stack.enter_context(fused_apart())
        stack.enter_context(NormsInWide())
        stack.enter_context(within)
        stack.enter_context(InFloat32())
        tensors = run_model(model, inputs, changed).tensors
    return _widened(tensors)


@contextmanager
def deciding_alike(
    decisions: Decisions | None,
    arithmetic: AbstractContextManager[object] | None = None,
    *,
    rough: bool = False,
    noted: bool = True,
) -> Iterator[None]:
    """Have a reference decide as in its first run inside the block.

    Args:
        decisions: those of the first run; None where there are none.
        arithmetic: another context for the block.
        rough: the reference computes in another type or arithmetic than in the first run.
        noted: the run shows how the numbers change on which the reference decides.
    """
    with ExitStack() as stack:
        if arithmetic is not None:
            stack.enter_context(arithmetic)
        if decisions is not None:
            stack.enter_context(Watched(decisions.begin(rough=rough, noted=noted)))
        yield


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
    *,
    rounds: bool = True,
    names: set[torch.dtype] | None = None,
) -> tuple[torch.Tensor, ...]:
    """Compute the model's result in `dtype`, and return its tensors as float64, integers and truth values as int64.

    Args:
        case: the model and its inputs.
        dtype: type of all floating-point inputs and parameters.
        alter: changes each input; it gets the input in its own type, and may return a wider one.
        changed: names of the arguments that count as changed; they follow the output's tensors.
        within: context in which the model runs.
        rounds: conversions to 16-bit types that the reference names round.
        names: gets these types, where they are narrower than `dtype`.
    """
    model = copy.deepcopy(case.model).to(dtype)
    inputs = tree_map(lambda value: copied_in(alter(value), dtype), case.inputs)
    with ExitStack() as stack:
        computed = stack.enter_context(computing_in(dtype, case.inputs, rounds=rounds))
        if dtype == torch.float32:
            stack.enter_context(fused_apart())
            stack.enter_context(InFloat32())
        if dtype == torch.float64 and any(tensor.is_cuda for tensor in tensors_of(list(case.inputs))):
            stack.enter_context(WideConvolutions())
        if within is not None:
            stack.enter_context(within)
        tensors = run_model(model, inputs, changed).tensors
    if names is not None:
        names |= computed.named
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
