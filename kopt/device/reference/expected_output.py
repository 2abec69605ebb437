"""Compute the right result of a case: the reference in float64, with the allowed error of each element.

Elements of integers and truth values are right exactly, except where rounding decides them: where the reference gives
another integer in float32, in its own dtype, or on inputs that are changed in the 18th bit.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

import torch

from kopt.device.reference.distributions import Case
from kopt.device.reference.outputs import Contract, Result, ResultContract, result_contract, run_reference
from kopt.device.reference.tolerance import calibrated, in_dtype
from kopt.model.problem import Problem

NUDGE = 2.0**-17
"""Relative change of an input that may change an integer of the output: above the errors of sums in float32."""
NUDGES = 2
"""Number of changed sets of inputs."""
BELOW_FLOAT32 = 2.0**-29
"""Roundoff of float64 over that of float32."""


@dataclass(frozen=True)
class ExpectedOutput:
    """The right value of one tensor of a result, and how far off an element may be."""

    contract: Contract
    output: torch.Tensor
    """The reference's tensor: float64, or int64 for integers and truth values."""
    allowed: torch.Tensor
    """Largest allowed error by element; NaN where the reference is not finite, so that any value is right."""


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
    changed = tuple(eager.arguments)
    references = in_dtype(case, torch.float64, changed=changed)
    others = _Others(case, changed)
    tensors = [
        _expected(problem, place, tensor, eager.tensors[place], references[place], others)
        for place, tensor in enumerate(contract.tensors)
    ]
    return ExpectedResult(contract, tuple(tensors))


class _Others:
    """Results of one case in other precisions, computed when they are first needed."""

    def __init__(self, case: Case, changed: tuple[str, ...]) -> None:
        self._case = case
        self._changed = changed
        self._float32: tuple[torch.Tensor, ...] = ()
        self._nudged: list[tuple[torch.Tensor, ...]] = []

    def float32(self, place: int) -> torch.Tensor:
        """Return a tensor of the result in float32, widened."""
        if not self._float32:
            self._float32 = in_dtype(self._case, torch.float32, changed=self._changed)
        return self._float32[place]

    def nudged(self, place: int) -> Iterator[torch.Tensor]:
        """Yield a tensor of the result for changed inputs."""
        if not self._nudged:
            self._nudged = [
                in_dtype(self._case, torch.float64, partial(_nudged, seed), self._changed) for seed in range(NUDGES)
            ]
        return (result[place] for result in self._nudged)


def _nudged(seed: int, value: object) -> object:
    if not (isinstance(value, torch.Tensor) and value.is_floating_point()):
        return value
    noise = torch.Generator(value.device).manual_seed(seed)
    wide = value.double()
    return wide * (1 + NUDGE * torch.randn(value.shape, generator=noise, device=value.device, dtype=torch.float64))


def _expected(
    problem: Problem, place: int, contract: Contract, eager: torch.Tensor, reference: torch.Tensor, others: _Others
) -> ExpectedOutput:
    """Make the expected value of one tensor of the result."""
    if not contract.dtype.is_floating_point:
        if problem.tolerance is not None:
            allowed = problem.tolerance.absolute + problem.tolerance.relative * reference.double().abs()
        else:
            allowed = _unsettled(reference, [eager.to(torch.int64), others.float32(place), *others.nudged(place)])
        return ExpectedOutput(contract, reference, allowed)
    finite = reference.isfinite() & reference.to(eager.dtype).double().isfinite()
    if problem.tolerance is not None:
        tolerance = problem.tolerance
    else:
        float32 = others.float32(place)
        if eager.dtype is torch.float64:
            float32 = reference + BELOW_FLOAT32 * (float32 - reference)
        tolerance = calibrated(eager, float32, reference, finite)
    allowed = tolerance.absolute + tolerance.relative * reference.abs()
    return ExpectedOutput(contract, reference, torch.where(finite, allowed, torch.nan))


def _unsettled(reference: torch.Tensor, others: list[torch.Tensor]) -> torch.Tensor:
    """Return the largest difference of each integer to those of other computations; 0 where all agree."""
    allowed = torch.zeros(reference.shape, dtype=torch.float64, device=reference.device)
    for other in others:
        difference = torch.where(other == reference, 0.0, (other.double() - reference.double()).abs())
        allowed = torch.maximum(allowed, difference)
    return allowed
