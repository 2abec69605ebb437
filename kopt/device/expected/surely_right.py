"""Accept a right output at the cost of one run of the model in float64.

Expected outputs that are too large to be kept are computed for every candidate.  Most of that work only says where
nothing is asked, or where more is allowed than two numbers say (`Allowance`).  A result whose every element is within
what all calibrated tolerances allow needs the right values alone.  So does any result after a first computation that
has found no such place.  What is not surely right is compared in full.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch

from kopt.device.draws.distributions import Case, Draw
from kopt.device.expected.compare import Comparison, accepted, error_of, largest_error
from kopt.device.expected.compare_result import worst
from kopt.device.expected.expected_output import ExpectedResult
from kopt.device.expected.outputs import Result
from kopt.device.expected.runs import in_dtype
from kopt.device.expected.tolerance import Allowance, always_allowed
from kopt.device.expected.typical import usual_sizes
from kopt.model.problem import Problem


def plain_allowances(case: Case, expected: ExpectedResult, eager: Result) -> list[Allowance]:
    """Return the allowances of a result's tensors if all that is expected follows from them, bit for bit; else none.

    Args:
        case: a case, or a part of one.
        expected: its expected result.
        eager: its result as the eager model gives it.
    """
    allowances = [one.allowance for one in expected.tensors if one.allowance is not None and one.matched == 1.0]
    if eager.arguments or len(allowances) < len(expected.tensors):
        return []
    exact = in_dtype(case, torch.float64)
    for one, right, given, allowance in zip(expected.tensors, exact, eager.tensors, allowances, strict=True):
        allowed = _least(right, allowance).maximum(error_of(given, right))
        if not torch.equal(one.output, right) or not torch.equal(one.allowed, allowed):
            return []
    return allowances


def granted_allowances(problem: Problem, case: Case, eager: Result) -> list[Allowance]:
    """Return allowances that are no larger than those of `expected_result`, whatever that finds; none for integers.

    Args:
        problem: the problem.
        case: a case, or a part of one.
        eager: its result as the eager model gives it.
    """
    floating = all(tensor.is_floating_point() for tensor in eager.tensors)
    if problem.tolerance is not None or eager.arguments or not floating:
        return []
    sizes = usual_sizes(problem, case)
    return [always_allowed(tensor.dtype, sizes.get(name, 0.0)) for name, tensor in eager.outputs.items()]


def surely_right(
    exact: Sequence[torch.Tensor], tensors: Sequence[torch.Tensor], eager: Result,
    allowances: Sequence[Sequence[Allowance]], draw: Draw,
) -> Comparison | None:  # fmt: skip
    """Compare a result with the model in float64; None where it may be wrong.

    Args:
        exact: the model's result in float64.
        tensors: the result, on the device of `exact` or, where it is small, on the host.
        eager: the result of the eager model.
        allowances: those of its tensors, one list or several (`granted_allowances`, `plain_allowances`): the first
            one that allows the result decides.
        draw: the draw that the case belongs to.

    Returns:
        The very comparison that `compare_result` makes of a right result; with granted allowances all but the allowed
        error, which is at most that of `compare_result`.
    """
    errors = [error_of(tensor.to(right.device), right) for tensor, right in zip(tensors, exact, strict=True)]
    largest = [largest_error(error) if error.numel() else None for error in errors]
    if not all(one is None or math.isfinite(one[1]) for one in largest):
        return None
    for several in allowances:
        of_tensor = list(zip(errors, exact, several, strict=True))
        if all(bool((error <= _least(right, allowance)).all()) for error, right, allowance in of_tensor):
            found = zip(largest, exact, eager.tensors, several, strict=True)
            return worst([_accepted(draw, *one) for one in found])
    return None


def _accepted(
    draw: Draw, largest: tuple[tuple[int, ...], float] | None, right: torch.Tensor, given: torch.Tensor,
    allowance: Allowance,
) -> Comparison:  # fmt: skip
    """Make the comparison of a tensor whose largest error, which has an index, is allowed; None is no element."""
    if largest is None:
        return Comparison(None, "")
    index, error = largest
    allowed, own = float(_least(right[index], allowance)), float(error_of(given[index], right[index]))
    return accepted(draw, error, max(allowed, own) if math.isfinite(own) else allowed)


def _least(right: torch.Tensor, allowance: Allowance) -> torch.Tensor:
    """Return the error that an allowance grants each element at least; eager's own error is granted, too."""
    return right.abs().mul_(allowance.relative).add_(allowance.absolute)
