"""Accept a right output at the cost of one run of the model in float64, where an earlier comparison has shown the way.

Expected outputs that are too large to be kept are computed for every candidate.  Most of that work only says where
nothing is asked, or where other errors are allowed than two numbers say (`Allowance`).  If the first computation finds
no such place, the next ones need the right values alone.  What is not surely right is compared in full.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch

from kopt.device.draws.distributions import Case, Draw
from kopt.device.expected.compare import Comparison, accepted, error_of, largest_error
from kopt.device.expected.compare_result import worst
from kopt.device.expected.evidence import in_dtype
from kopt.device.expected.expected_output import ExpectedResult
from kopt.device.expected.outputs import Result
from kopt.device.expected.tolerance import Allowance


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


def surely_right(
    case: Case, tensors: Sequence[torch.Tensor], eager: Result, allowances: Sequence[Allowance], draw: Draw
) -> Comparison | None:
    """Compare a result with the model in float64; None where it may be wrong.

    Args:
        case: the case, or the part of one.
        tensors: the result, on the case's device or, where it is small, on the host.
        eager: the result of the eager model.
        allowances: those of its tensors (`plain_allowances`).
        draw: the draw that the case belongs to.

    Returns:
        The very comparison that `compare_result` makes of a right result.
    """
    comparisons = []
    exact = in_dtype(case, torch.float64)
    for tensor, right, given, allowance in zip(tensors, exact, eager.tensors, allowances, strict=True):
        if not tensor.numel():
            comparisons.append(Comparison(None, ""))
            continue
        error = error_of(tensor.to(right.device), right)
        if not bool((error <= _least(right, allowance)).all()):
            return None
        index, largest = largest_error(error)
        if not math.isfinite(largest):
            return None
        allowed = _least(right[index], allowance).maximum(error_of(given[index], right[index]))
        comparisons.append(accepted(draw, largest, float(allowed)))
    return worst(comparisons)


def _least(right: torch.Tensor, allowance: Allowance) -> torch.Tensor:
    """Return the error that an allowance grants each element at least; eager's own error is granted, too."""
    return right.abs().mul_(allowance.relative).add_(allowance.absolute)
