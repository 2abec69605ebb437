"""Compare an output with the right one, and describe what is wrong with it."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch

from kopt.device.draws.distributions import Draw
from kopt.device.expected.expected_output import ExpectedOutput
from kopt.device.expected.tf32 import TF32_HINT
from kopt.device.expected.tolerance import root_mean_square
from kopt.device.reference.layout import same_values
from kopt.model.verdict import Check

TF32_ERROR = (2.0**-15, 2.0**-8)
"""Least and largest of the largest error of a product in TF32, over the root mean square of the output."""

OVERFLOWING = ("large", "extreme")
"""Kinds of inputs at which a kernel may overflow where the reference does not."""
OVERFLOW = "inf - inf and inf / inf give NaN: look for what overflows; else, "
UNWRITTEN = (
    "output memory that was never written, and what loads mask off without `other` or `padding_option`, hold NaN here"
)


@dataclass(frozen=True)
class Comparison:
    """Result of comparing an output with the right one."""

    check: Check | None
    """Largest error and the allowed one; None where the error is not finite, or there is no element."""
    reason: str
    """Description of the error for the proposer; empty when the output is right."""
    wrong: float = 0.0
    """Share of the elements that are wrong."""

    @property
    def right(self) -> bool:
        """Whether the output is accepted."""
        return not self.reason


def compare(output: torch.Tensor, expected: ExpectedOutput, draw: Draw) -> Comparison:
    """Compare an output that keeps the contract with the expected one."""
    if output.numel():
        error = error_of(output, expected.output)
        if bool((error <= expected.allowed).all()):
            index, largest = largest_error(error)
            if math.isfinite(largest):
                return accepted(draw, largest, float(expected.allowed[index]))
        del error
    return _compared(output, expected, draw)


def error_of(output: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
    """Return how far each element is off, in float64; NaN or infinity where one of the two is not finite."""
    values = output if output.element_size() > 1 else output.double()  # torch subtracts no 8-bit numbers
    return (values - right).abs_()


def largest_error(error: torch.Tensor) -> tuple[tuple[int, ...], float]:
    """Return the index of the largest error of some elements, and the error."""
    index = _coordinates(int(error.argmax()), error.shape)
    return index, float(error[index])


def accepted(draw: Draw, error: float, allowed: float) -> Comparison:
    """Return the comparison of a right output: its largest error, and what is allowed there."""
    return Comparison(Check(workload=draw.workload.name, distribution=draw.label, max_error=error, allowed=allowed), "")


def _compared(output: torch.Tensor, expected: ExpectedOutput, draw: Draw) -> Comparison:
    """Compare an output with the expected one, where not every element is finite and surely right."""
    where = draw.where
    asked = ~expected.allowed.isnan()
    special = asked & ~expected.output.isfinite()
    values = output.double()
    same = same_values(values, expected.output)
    compared = asked & ~special
    broken = (compared & ~values.isfinite()) | (special & ~same)
    error = torch.where(compared & values.isfinite(), (values - expected.output).abs(), 0.0)
    allowed = torch.where(compared, expected.allowed, 0.0)
    wrong = broken | (error > allowed)
    if int(wrong.sum()) <= (1.0 - expected.matched) * wrong.numel():
        wrong = broken = torch.zeros_like(wrong)
    if bool(broken.any()):
        return Comparison(None, f"{where}: {_describe_not_finite(values, expected, broken, draw)}")
    if not error.numel():
        return Comparison(None, "")
    worst = int((error - allowed).argmax()) if bool(wrong.any()) else int(error.argmax())
    check = Check(
        workload=draw.workload.name,
        distribution=draw.label,
        max_error=float(error.flatten()[worst]),
        allowed=float(allowed.flatten()[worst]),
    )
    if not bool(wrong.any()):
        return Comparison(check, "")
    share = int(wrong.sum()) / wrong.numel()
    return Comparison(check, f"{where}: {_describe_wrong(values, expected, wrong, worst)}", share)


def _describe_wrong(values: torch.Tensor, expected: ExpectedOutput, wrong: torch.Tensor, worst: int) -> str:
    """Describe how many elements are wrong and where, and the worst one; `worst` is its index in the flat output."""
    count, total, shape = int(wrong.sum()), wrong.numel(), expected.contract.shape
    first = _index(int(wrong.flatten().int().argmax()), shape)
    last = _index(total - 1 - int(wrong.flatten().int().flip(0).argmax()), shape)
    spread = f", first at {first}, last at {last}" if count > 1 else ""
    hint = _tf32_hint(values, expected, wrong)
    return (
        f"{count} of {total} elements are wrong ({100 * count / total:.3g} %){spread}; worst at "
        f"{_index(worst, shape)}: expected {_number(expected.output, worst)}, got {_number(values, worst)}, "
        f"allowed error {_number(expected.allowed, worst)}; output shape {shape}{hint}"
    )


def _tf32_hint(values: torch.Tensor, expected: ExpectedOutput, wrong: torch.Tensor) -> str:
    """Return a hint where the errors of a float32 output are as small as those of TF32."""
    if expected.contract.dtype != torch.float32:
        return ""
    finite = ~expected.allowed.isnan() & expected.output.isfinite()
    scale = root_mean_square(expected.output, finite)
    largest = float((values - expected.output)[wrong].abs().max())
    if not TF32_ERROR[0] * scale <= largest <= TF32_ERROR[1] * scale:
        return ""
    return TF32_HINT


def _describe_not_finite(values: torch.Tensor, expected: ExpectedOutput, broken: torch.Tensor, draw: Draw) -> str:
    """Describe how many elements are not finite, or not the expected infinity or NaN, and the first of them."""
    first = int(broken.flatten().int().argmax())
    value, wanted, shape = _number(values, first), _number(expected.output, first), expected.contract.shape
    kind = "not finite"
    if not math.isfinite(float(wanted)):
        kind = f"not {wanted} as they have to be"
    hint = ""
    if kind == "not finite" and value not in ("inf", "-inf"):
        hint = f" ({OVERFLOW if draw.distribution in OVERFLOWING else ''}{UNWRITTEN})"
    return (
        f"{int(broken.sum())} of {broken.numel()} elements are {kind}, first at "
        f"{_index(first, shape)}: expected {wanted}, got {value}{hint}; output shape {shape}"
    )


def _index(flat: int, shape: tuple[int, ...]) -> str:
    """Write the index of an element, given its index in the flat output."""
    return f"[{', '.join(map(str, _coordinates(flat, shape)))}]"


def _coordinates(flat: int, shape: tuple[int, ...]) -> tuple[int, ...]:
    """Return the index of an element, given its index in the flat output."""
    index = []
    for size in reversed(shape):
        flat, coordinate = divmod(flat, size)
        index.append(coordinate)
    return tuple(reversed(index))


def _number(values: torch.Tensor, flat: int) -> str:
    return f"{float(values.flatten()[flat]):.6g}"
