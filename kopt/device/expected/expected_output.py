"""Compute the right result of a case: the reference in float64, with the allowed error of each element.

Elements of integers and truth values are right exactly, except where rounding decides them: where the reference gives
another integer in float32, in its own dtype, or on inputs that are changed in the 18th bit.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import torch

from kopt.device.draws.distributions import Case
from kopt.device.expected.outputs import Contract, Result, ResultContract, result_contract, run_reference
from kopt.device.expected.tolerance import Evidence, allowed_error, evidence, in_dtype
from kopt.device.expected.typical import typical_sizes
from kopt.model.problem import Problem

NUDGE = 2.0**-17
"""Relative change of an input that may change an integer of the output: above the errors of sums in float32."""
NUDGES = 2
"""Number of changes of the inputs; each is made in both directions, one of which crosses a rounding point nearby."""


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


@dataclass(frozen=True)
class ExpectedResult:
    """The right result of one case."""

    contract: ResultContract
    tensors: tuple[ExpectedOutput, ...]
    """The output's tensors, then the changed arguments, in the order of the contract."""


def expected_result(
    problem: Problem, case: Case, eager: Result | None = None, sample: Case | None = None
) -> ExpectedResult:
    """Compute the float64 result of a case with its tolerance: the problem's own, or the calibrated one.

    Args:
        problem: the problem.
        case: one draw of it.
        eager: the eager model's result where it is known; for a part of a case, that part of the whole result.
        sample: a part of the case that shows how rounding errors of the inputs change the result (`evidence`).

    Raises:
        ProblemError: the reference has no result that can be compared.
    """
    eager = run_reference(problem, case) if eager is None else eager
    contract = result_contract(problem, case, eager)
    found = evidence(problem, case, contract.changed, sample)
    nudged: list[tuple[torch.Tensor, ...]] = []
    if not all(tensor.dtype.is_floating_point for tensor in contract.tensors):
        change = [partial(_nudged, seed, sign) for seed in range(NUDGES) for sign in (1, -1)]
        nudged = [in_dtype(case, torch.float64, alter, contract.changed) for alter in change]
    exact = {tensor.name: one.exact for tensor, one in zip(contract.tensors, found, strict=True)}
    sizes = typical_sizes(problem, case, exact, contract.changed) if problem.tolerance is None else {}
    tensors = [
        _expected(
            problem, tensor, eager.tensors[place], found[place], [result[place] for result in nudged],
            sizes.get(tensor.name, 0.0),
        )
        for place, tensor in enumerate(contract.tensors)
    ]  # fmt: skip
    return ExpectedResult(contract, tuple(tensors))


def _nudged(seed: int, sign: int, value: object) -> object:
    if not (isinstance(value, torch.Tensor) and value.is_floating_point()):
        return value
    noise = torch.Generator(value.device).manual_seed(seed)
    wide = value.double()
    return wide * (
        1 + sign * NUDGE * torch.randn(value.shape, generator=noise, device=value.device, dtype=torch.float64)
    )


def _expected(
    problem: Problem, contract: Contract, eager: torch.Tensor, found: Evidence, nudged: Sequence[torch.Tensor],
    typical: float,
) -> ExpectedOutput:  # fmt: skip
    """Make the expected value of one tensor of the result.

    Args:
        problem: the problem.
        contract: the tensor's contract.
        eager: the tensor as the eager model gives it.
        found: what its right value follows from.
        nudged: the tensor for slightly changed inputs; needed for integers only.
        typical: the tensor's typical size.
    """
    declared = problem.tolerance
    matched = declared.matched if declared is not None else 1.0
    if contract.dtype.is_floating_point:
        return ExpectedOutput(contract, found.exact, allowed_error(eager, found, declared, typical), matched)
    others = [eager.to(torch.int64), *nudged, *([found.float32] if found.float32 is not None else [])]
    allowed = _unsettled(found.exact, others)
    if declared is not None:
        allowed = allowed.maximum(declared.absolute + declared.relative * found.exact.double().abs())
    for untied in found.untied:
        allowed = torch.where(untied == found.exact, allowed, torch.nan)
    return ExpectedOutput(contract, found.exact, allowed, matched)


def _unsettled(reference: torch.Tensor, others: Sequence[torch.Tensor]) -> torch.Tensor:
    """Return the largest difference of each integer to those of other computations; 0 where all agree."""
    allowed = torch.zeros(reference.shape, dtype=torch.float64, device=reference.device)
    for other in others:
        difference = torch.where(other == reference, 0.0, (other.double() - reference.double()).abs())
        allowed = torch.maximum(allowed, difference)
    return allowed
