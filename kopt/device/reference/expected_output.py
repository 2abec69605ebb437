"""Compute the right output of a case: the reference in float64, with the allowed error of each element."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from kopt.device.reference.distributions import Case
from kopt.device.reference.outputs import Contract, contract_of, run_model
from kopt.device.reference.tolerance import allowed_error, evidence
from kopt.model.problem import Problem


@dataclass(frozen=True)
class ExpectedOutput:
    """The right output of one case, and how far off an element may be."""

    contract: Contract
    output: torch.Tensor
    """The reference's output, float64."""
    allowed: torch.Tensor
    """Largest allowed error by element; NaN where nothing is asked, 0 where an infinity or NaN is the right value."""
    matched: float = 1.0
    """Share of the elements that must be within the allowed error."""


def expected_output(problem: Problem, case: Case, eager: torch.Tensor | None = None) -> ExpectedOutput:
    """Compute the float64 output of a case with its tolerance: the problem's own, or the calibrated one.

    Args:
        problem: the problem.
        case: one draw of it.
        eager: the eager model's output where it is known; for a part of a case, that part of the whole output.

    Raises:
        ProblemError: the reference does not return one tensor.
    """
    eager = run_model(case.model, case.inputs) if eager is None else eager
    found = evidence(problem, case)
    matched = problem.tolerance.matched if problem.tolerance is not None else 1.0
    return ExpectedOutput(contract_of(eager), found.exact, allowed_error(eager, found, problem.tolerance), matched)
