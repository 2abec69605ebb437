"""Compute the right result of a case: the reference in float64, with the allowed error of each element.

Elements of integers and truth values are right exactly, except where rounding decides them: where the reference gives
another integer in float32, in its own dtype, or on inputs that are changed in the 18th bit.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import partial

import torch

from kopt.device.reference.distributions import Case
from kopt.device.reference.outputs import Contract, Result, ResultContract, result_contract, run_reference
from kopt.device.reference.tolerance import Evidence, allowed_error, evidence, in_dtype
from kopt.model.problem import Problem

NUDGE = 2.0**-17
"""Relative change of an input that may change an integer of the output: above the errors of sums in float32."""
NUDGES = 2
"""Number of changed sets of inputs."""


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


def expected_result(problem: Problem, case: Case, eager: Result | None = None) -> ExpectedResult:
    """Compute the float64 result of a case with its tolerance: the problem's own, or the calibrated one.

    Args:
        problem: the problem.
        case: one draw of it.
        eager: the eager model's result where it is known; for a part of a case, that part of the whole result.

    Raises:
        ProblemError: the reference has no result that can be compared.
    """
    eager = run_reference(problem, case) if eager is None else eager
    contract = result_contract(problem, case, eager)
    nudged = _Nudged(case, tuple(eager.arguments))
    found = evidence(problem, case, tuple(eager.arguments))
    tensors = [
        _expected(problem, tensor, eager.tensors[place], found[place], nudged.results(place))
        for place, tensor in enumerate(contract.tensors)
    ]
    return ExpectedResult(contract, tuple(tensors))


class _Nudged:
    """Results of one case on inputs that are changed a little, computed when they are first needed."""

    def __init__(self, case: Case, changed: tuple[str, ...]) -> None:
        self._case = case
        self._changed = changed
        self._results: list[tuple[torch.Tensor, ...]] = []

    def results(self, place: int) -> Iterator[torch.Tensor]:
        """Yield a tensor of the result for each set of changed inputs."""
        if not self._results:
            self._results = [
                in_dtype(self._case, torch.float64, partial(_nudged, seed), self._changed) for seed in range(NUDGES)
            ]
        yield from (result[place] for result in self._results)


def _nudged(seed: int, value: object) -> object:
    if not (isinstance(value, torch.Tensor) and value.is_floating_point()):
        return value
    noise = torch.Generator(value.device).manual_seed(seed)
    wide = value.double()
    return wide * (1 + NUDGE * torch.randn(value.shape, generator=noise, device=value.device, dtype=torch.float64))


def _expected(
    problem: Problem, contract: Contract, eager: torch.Tensor, found: Evidence, nudged: Iterator[torch.Tensor]
) -> ExpectedOutput:
    """Make the expected value of one tensor of the result."""
    declared = problem.tolerance
    matched = declared.matched if declared is not None else 1.0
    if contract.dtype.is_floating_point:
        return ExpectedOutput(contract, found.exact, allowed_error(eager, found, declared), matched)
    if declared is not None:
        allowed = declared.absolute + declared.relative * found.exact.double().abs()
    else:
        assert found.float32 is not None
        allowed = _unsettled(found.exact, [eager.to(torch.int64), found.float32, *nudged])
    return ExpectedOutput(contract, found.exact, allowed, matched)


def _unsettled(reference: torch.Tensor, others: Iterable[torch.Tensor]) -> torch.Tensor:
    """Return the largest difference of each integer from those of other computations; 0 where all agree."""
    allowed = torch.zeros(reference.shape, dtype=torch.float64, device=reference.device)
    for other in others:
        difference = torch.where(other == reference, 0.0, (other.double() - reference.double()).abs())
        allowed = torch.maximum(allowed, difference)
    return allowed
