"""Compare the tensors of a result with the expected ones: the output's tensors, and the arguments that it changed."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

import torch

from kopt.device.draws.distributions import Case, Draw
from kopt.device.expected.compare import Comparison, compare
from kopt.device.expected.expected_output import ExpectedOutput, ExpectedResult, with_other_roundings
from kopt.model.verdict import Check

MOST_WRONG = 1 / 8
"""Largest share of wrong elements in a result that is compared again."""
MOST_OFF = 16
"""Largest error in such a result, over the allowed one, where the reference names no 16-bit type: what a conversion to
one changes may be any number of times what is allowed."""


def compare_result(
    tensors: Sequence[torch.Tensor], expected: ExpectedResult, draw: Draw, case: Case | None = None
) -> Comparison:
    """Compare a result that keeps the contract; the reason names the tensor where there are several.

    What is nearly right is compared again with what other roundings on the way allow: many runs of the model.

    Args:
        tensors: in the order of the expected ones.
        expected: the right result.
        draw: the draw that it belongs to.
        case: its model and inputs; without them it is compared once.
    """
    comparison = _compared(tensors, expected, draw)
    if comparison.right or case is None or not _is_nearly_right(comparison, expected):
        return comparison
    wider = with_other_roundings(expected, case)
    return comparison if wider is expected else _compared(tensors, wider, draw)


def _is_nearly_right(comparison: Comparison, expected: ExpectedResult) -> bool:
    """Return whether other roundings may explain an error: few elements are wrong, and none of them by much."""
    check = comparison.check
    if check is None or comparison.wrong > MOST_WRONG:
        return False
    return expected.named is not None or check.max_error <= MOST_OFF * check.allowed


def _compared(tensors: Sequence[torch.Tensor], expected: ExpectedResult, draw: Draw) -> Comparison:
    several = len(expected.tensors) > 1
    compared = []
    for tensor, wanted in zip(tensors, expected.tensors, strict=True):
        comparison = compare_tensor(tensor, wanted, draw)
        if not comparison.right:
            where = f"{wanted.contract.name}: " if several or wanted.contract.name != "output" else ""
            return replace(comparison, reason=where + comparison.reason)
        compared.append(comparison)
    return worst(compared)


def worst(comparisons: Iterable[Comparison]) -> Comparison:
    """Return the comparison, among right ones, whose error is the largest part of the allowed one."""
    checks = [comparison.check for comparison in comparisons if comparison.check]
    return Comparison(max(checks, key=lambda check: check.max_error / (check.allowed or 1.0), default=None), "")


def compare_tensor(tensor: torch.Tensor, expected: ExpectedOutput, draw: Draw) -> Comparison:
    """Compare one tensor: floating-point numbers within their tolerance, integers and truth values as integers."""
    if expected.contract.dtype.is_floating_point:
        return compare(tensor, expected, draw)
    return _compare_integers(tensor, expected, draw)


def _compare_integers(tensor: torch.Tensor, expected: ExpectedOutput, draw: Draw) -> Comparison:
    values = tensor.to(torch.int64)
    if not values.numel():
        return Comparison(None, "")
    # The difference of large integers is not exact in float64, but it is not zero either.
    error = torch.where(values == expected.output, 0.0, (values.double() - expected.output.double()).abs().clamp_min(1))
    asked = ~expected.allowed.isnan()
    error, allowed = torch.where(asked, error, 0.0), torch.where(asked, expected.allowed, 0.0)
    wrong = error > allowed
    if int(wrong.sum()) <= (1.0 - expected.matched) * wrong.numel():
        wrong = torch.zeros_like(wrong)
    place = int((error - allowed).argmax()) if bool(wrong.any()) else int(error.argmax())
    check = Check(
        workload=draw.workload.name,
        distribution=draw.label,
        max_error=float(error.flatten()[place]),
        allowed=float(allowed.flatten()[place]),
        integers=True,
    )
    if not bool(wrong.any()):
        return Comparison(check, "")
    index = [int(one) for one in torch.unravel_index(torch.tensor(place), values.shape)]
    count, total = int(wrong.sum()), wrong.numel()
    return Comparison(
        check,
        f"{draw.where}: {count} of {total} elements are wrong "
        f"({100 * count / total:.3g} %); worst at {index}: expected {int(expected.output.flatten()[place])}, got "
        f"{int(values.flatten()[place])}; output shape {expected.contract.shape}",
    )
