"""Compute the right result of a case: the reference in float64, with the allowed error of each element.

Elements of integers and truth values are right exactly, except where rounding decides them: where the reference gives
another integer in float32, in its own dtype, in a GPU's arithmetic, when the numbers with which it computes are changed
in the 18th bit, when results of its own dtype are rounded to a neighbour, equal ones alike, or when the numbers on
which it decides move by as much as a GPU's operations may be off (`kopt.device.expected.decisions`); elements of
floating-point numbers may jump with such a decision, too.  Nothing is asked where the reference leaves a result open:
the order of equal elements in a sort, the maximum of elements that rounding made equal, the cast of a number to an
integer type that cannot hold it.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace

import torch

from kopt.device.draws.distributions import Case
from kopt.device.expected.decisions import Decisions, Shifted, Watched
from kopt.device.expected.emulation import Float32Arithmetic
from kopt.device.expected.evidence import Evidence, evidence
from kopt.device.expected.outputs import Contract, Result, ResultContract, result_contract, run_reference
from kopt.device.expected.products.float32 import InCutTF32
from kopt.device.expected.rounding import Nudged, RoundedOtherwise
from kopt.device.expected.roundings.between import changes_between
from kopt.device.expected.roundings.named import large_changes_without
from kopt.device.expected.runs import deciding_alike, in_dtype, in_own_dtypes
from kopt.device.expected.tolerance import Allowance, allowed_error
from kopt.device.expected.typical import typical_sizes
from kopt.device.reference.layout import same_values
from kopt.device.reference.other_type import HALF_TYPES
from kopt.device.reference.tree import tensors_of
from kopt.errors import ProblemError
from kopt.model.problem import Problem

NUDGES = 2
"""Number of changes of the numbers; each is made in both directions, one of which crosses a rounding point nearby."""
CHOSEN_SHARE = 0.05
"""Share of an integer tensor's elements, decided by ties of computed ones, from which nothing is asked of the tensor:
others, such as positions and counts, follow from the same choices."""

LARGE_SHARE = 1 / 8
"""Share of a tensor's elements that conversions to named 16-bit types move by much, above which what they round is what
the reference computes (`x - x.bfloat16()`), and no matter of luck."""


@dataclass(frozen=True)
class ExpectedOutput:
    """The right value of one tensor of a result, and how far off an element may be."""

    contract: Contract
    output: torch.Tensor
    """The reference's tensor: float64, or int64 for integers and truth values."""
    allowed: torch.Tensor
    """Largest allowed error by element; NaN where nothing is asked, 0 where an infinity or NaN is the right value."""
    matched: float = 1.0
    """Share of the elements that must be within the allowed error."""
    allowance: Allowance | None = None
    """Calibrated tolerance, the same for all elements; None for integers and declared tolerances."""


@dataclass(frozen=True)
class ExpectedResult:
    """The right result of one case."""

    contract: ResultContract
    tensors: tuple[ExpectedOutput, ...]
    """The output's tensors, then the changed arguments, in the order of the contract."""
    named: torch.dtype | None = None
    """Coarsest 16-bit type that the reference names and that is narrower than the type it computes in; else None."""


def expected_result(
    problem: Problem,
    case: Case,
    eager: Result | None = None,
    sample: Case | None = None,
    known: Sequence[Allowance | None] = (),
) -> ExpectedResult:
    """Compute the float64 result of a case with its tolerance: the problem's own, or the calibrated one.

    Args:
        problem: the problem.
        case: one draw of it.
        eager: the eager model's result where it is known; for a part of a case, that part of the whole result.
        sample: a part of the case that shows how rounding errors of the inputs change the result (`evidence`).
        known: the allowances of the result's tensors, as an earlier call has found them for this very case.

    Raises:
        ProblemError: the reference has no result that can be compared.
    """
    eager = run_reference(problem, case) if eager is None else eager
    contract = result_contract(problem, case, eager)
    found = evidence(problem, case, contract.changed, sample, known=bool(known))
    nudged, shifted = _rounded_otherwise(case, contract, found)
    exact = {tensor.name: one.exact for tensor, one in zip(contract.tensors, found, strict=True)}
    settled = bool(known) or problem.tolerance is not None
    sizes = {} if settled else typical_sizes(problem, case, exact, contract.changed)
    tensors = [
        _expected(
            problem, tensor, eager.tensors[place], found[place], [result[place] for result in nudged],
            [result[place] for result in shifted], sizes.get(tensor.name, 0.0), known[place] if known else None,
        )
        for place, tensor in enumerate(contract.tensors)
    ]  # fmt: skip
    return ExpectedResult(contract, tuple(tensors), found[0].named)


def with_other_roundings(expected: ExpectedResult, case: Case) -> ExpectedResult:
    """Return an expected result that allows what other roundings to 16 bits on the way do to each element.

    The error of an element that rounding decides (the norm of a short row whose elements are nearly equal, a softmax of
    large numbers) is a matter of luck for eager and for every kernel alike.  Where the reference names a 16-bit type,
    what conversions to it change is allowed, too, be it much or little, unless most of a tensor changes by much.  A
    result comes back as it is where nothing is rounded to 16 bits (`changes_between`), and declared tolerances stay.

    Args:
        expected: the result.
        case: the case whose result it is.
    """
    if all(one.allowance is None for one in expected.tensors):
        return expected
    exact, changed = [one.output for one in expected.tensors], expected.contract.changed
    large = large_changes_without(case, changed) if expected.named is not None else [None] * len(exact)
    try:
        between = changes_between(case, exact, changed, expected.named)
    except ProblemError:  # the reference names types in a way that the emulation does not know
        between = None
    if between is None and expected.named is None:
        return expected
    others = between if between is not None else [torch.zeros_like(one.allowed) for one in expected.tensors]
    tensors = [
        _with_changes(one, other, without) if one.allowance is not None else one
        for one, other, without in zip(expected.tensors, others, large, strict=True)
    ]
    return replace(expected, tensors=tuple(tensors))


def _with_changes(expected: ExpectedOutput, between: torch.Tensor, large: torch.Tensor | None) -> ExpectedOutput:
    """Return an expected tensor that allows changes of its elements.

    Args:
        expected: the tensor.
        between: largest change of each element by other roundings.
        large: large changes when conversions to named types do not round, 0 for others; None where none is named.
    """
    if large is None:
        return replace(expected, allowed=expected.allowed.maximum(between))
    large = large.to(expected.allowed.device)
    if large.numel() and float((large > 0).double().mean()) > LARGE_SHARE:
        return expected
    return replace(expected, allowed=(expected.allowed + large).maximum(between))


def _rounded_otherwise(
    case: Case, contract: ResultContract, found: Sequence[Evidence]
) -> tuple[list[tuple[torch.Tensor, ...]], list[tuple[torch.Tensor, ...]]]:
    """Compute the result with other roundings on the way, where these may decide.

    Returns results with small changes, and results for which each number that decides was moved (`Shifted`).
    """
    changed = contract.changed
    turns = [(seed, sign) for seed in range(NUDGES) for sign in (1, -1)]
    integers = not all(tensor.dtype.is_floating_point for tensor in contract.tensors)
    halves = found[0].named is not None or any(_holds(case, dtype) for dtype in HALF_TYPES)
    pairs = list(zip(contract.tensors, found, strict=True))
    infinite = not all(bool(one.exact.isfinite().all()) for one in found)
    coarse = any(tensor.dtype.is_floating_point and one.step > torch.finfo(tensor.dtype).eps for tensor, one in pairs)
    if not (integers or infinite or coarse):
        return [], []
    decisions = found[0].decisions or Decisions()
    if found[0].decisions is None:
        in_dtype(case, torch.float64, changed=changed, within=Watched(decisions.begin()))
    nudged = [_nudged(case, changed, decisions, turn, integers or infinite) for turn in turns]
    narrow = all(one.float32 is not None for one in found) and not _holds(case, torch.float64)
    arithmetics = [Float32Arithmetic, *([InCutTF32] if found[0].cut is not None else [])] if narrow else []
    for arithmetic in arithmetics:
        within = deciding_alike(decisions, arithmetic(), rough=True)
        in_dtype(case, torch.float32, changed=changed, within=within)
    if halves:
        in_own_dtypes(case, changed, deciding_alike(decisions, rough=True))
    shifted = [
        in_dtype(case, torch.float64, changed=changed, within=Shifted(sign, decisions.begin())) for sign in (1, -1)
    ]
    if integers:
        nudged += [in_own_dtypes(case, changed, RoundedOtherwise(*turn)) for turn in turns]
        if halves:
            nudged += [in_own_dtypes(case, changed, Shifted(sign)) for sign in (1, -1)]
        for arithmetic in (*arithmetics, *arithmetics[:1]):
            nudged.append(in_dtype(case, torch.float32, changed=changed, within=arithmetic()))
    elif infinite and not _holds(case, torch.float64):
        nudged += [in_dtype(case, torch.float32, changed=changed, within=RoundedOtherwise(*turn)) for turn in turns]
    return nudged, shifted


def _nudged(
    case: Case, changed: Collection[str], decisions: Decisions, turn: tuple[int, int], decides: bool
) -> tuple[torch.Tensor, ...]:
    """Compute the result with small changes, and see how these change the numbers on which the reference decides.

    Args:
        case: model and inputs.
        changed: names of the arguments that count as changed.
        decisions: those of the reference.
        turn: number and direction of the changes.
        decides: the changed numbers decide; else decisions stay.
    """
    result = in_dtype(case, torch.float64, changed=changed, within=Nudged(*turn, decisions.begin()))
    if decides and decisions.differ:
        return in_dtype(case, torch.float64, changed=changed, within=Nudged(*turn))
    return result


def _holds(case: Case, dtype: torch.dtype) -> bool:
    """Return whether a tensor of a case has the type."""
    return any(tensor.dtype == dtype for tensor in (*tensors_of(list(case.inputs)), *case.model.parameters()))


def _expected(
    problem: Problem, contract: Contract, eager: torch.Tensor, found: Evidence, nudged: Sequence[torch.Tensor],
    shifted: Sequence[torch.Tensor], typical: float, known: Allowance | None,
) -> ExpectedOutput:  # fmt: skip
    """Make the expected value of one tensor of the result.

    Args:
        problem: the problem.
        contract: the tensor's contract.
        eager: the tensor as the eager model gives it.
        found: what its right value follows from.
        nudged: the tensor for slightly changed numbers; needed for integers, and where there are infinities or NaN.
        shifted: the tensor for numbers on which the reference decides moved up and down, where that matters.
        typical: the tensor's typical size.
        known: its allowance, where it is known.
    """
    declared = problem.tolerance
    matched = declared.matched if declared is not None else 1.0
    if contract.dtype.is_floating_point:
        allowed, allowance = allowed_error(eager, found, declared, typical, known)
        relative = declared.relative if declared is not None else allowance.relative if allowance is not None else 0.0
        allowed = _with_jumps(allowed, found.exact, shifted, relative)
        for other in (*nudged, *shifted):  # where rounding decides what is masked
            allowed = torch.where(other.isfinite() == found.exact.isfinite(), allowed, torch.nan)
        return ExpectedOutput(contract, found.exact, _where_settled(found, allowed), matched, allowance)
    others = [eager.to(torch.int64), *nudged, *shifted, *([found.float32] if found.float32 is not None else [])]
    allowed = _unsettled(found.exact, others)
    if declared is not None:
        allowed = allowed.maximum(declared.absolute + declared.relative * found.exact.double().abs())
    return ExpectedOutput(contract, found.exact, _where_settled(found, allowed), matched)


def _with_jumps(
    allowed: torch.Tensor, exact: torch.Tensor, shifted: Sequence[torch.Tensor], relative: float
) -> torch.Tensor:
    """Return the allowed errors, larger where an element jumps when numbers on which the reference decides move.

    Args:
        allowed: the errors without jumps.
        exact: the right values.
        shifted: the values for moved numbers.
        relative: error over the size of a value that is allowed where it jumps to.
    """
    jump = torch.zeros_like(exact)
    for other in shifted:
        difference = (other - exact).abs()
        jump = jump.maximum(torch.where(difference.isfinite(), difference, 0.0))
    return torch.where(jump > allowed, (1 + relative) * jump + allowed, allowed)


def _where_settled(found: Evidence, allowed: torch.Tensor) -> torch.Tensor:
    """Return the allowed errors, NaN where the reference leaves the result open."""
    floating = found.exact.is_floating_point()
    step = 2 if floating else 1  # those in float64, and those in the dtypes of eager
    for other in (*found.untied[::step], *found.cast):
        allowed = torch.where(_agree(other, found.exact, allowed), allowed, torch.nan)
    chosen = torch.ones(allowed.shape, dtype=torch.bool, device=allowed.device)
    for other in found.chosen[::step]:
        chosen &= _agree(other, found.exact, allowed)
    if not floating and chosen.numel() and float((~chosen).double().mean()) >= CHOSEN_SHARE:
        chosen.fill_(False)
    return torch.where(chosen, allowed, torch.nan)


def _agree(one: torch.Tensor, other: torch.Tensor, allowed: torch.Tensor) -> torch.Tensor:
    """Return where two results are the same, or as near as the tolerance of floating-point numbers allows."""
    if not other.is_floating_point():
        return one == other
    return same_values(one, other) | ((one - other).abs() <= allowed)


def _unsettled(reference: torch.Tensor, others: Sequence[torch.Tensor]) -> torch.Tensor:
    """Return the largest difference of each integer to those of other computations; 0 where all agree."""
    allowed = torch.zeros(reference.shape, dtype=torch.float64, device=reference.device)
    for other in others:
        difference = torch.where(other == reference, 0.0, (other.double() - reference.double()).abs())
        allowed = torch.maximum(allowed, difference)
    return allowed
