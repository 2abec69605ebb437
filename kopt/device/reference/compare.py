"""Compare an output with the right one, and describe what is wrong with it."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from kopt.device.reference.distributions import Draw
from kopt.device.reference.expected_output import ExpectedOutput
from kopt.model.verdict import Check


@dataclass(frozen=True)
class Comparison:
    """Result of comparing an output with the right one."""

    check: Check | None
    """Largest error and the allowed one; None where the error is not finite, or there is no element."""
    reason: str
    """Description of the error for the proposer; empty when the output is right."""

    @property
    def right(self) -> bool:
        """Whether the output is accepted."""
        return not self.reason


def compare(output: torch.Tensor, expected: ExpectedOutput, draw: Draw) -> Comparison:
    """Compare an output that keeps the contract with the expected one."""
    where = f"workload {draw.workload.name}, {draw.distribution} inputs"
    compared = ~expected.allowed.isnan()
    values = output.double()
    broken = compared & ~values.isfinite()
    if bool(broken.any()):
        return Comparison(None, f"{where}: {_describe_not_finite(values, expected, broken)}")
    error = torch.where(compared, (values - expected.output).abs(), 0.0)
    allowed = torch.where(compared, expected.allowed, 0.0)
    wrong = error > allowed
    if not error.numel():
        return Comparison(None, "")
    worst = int((error - allowed).argmax()) if bool(wrong.any()) else int(error.argmax())
    check = Check(
        workload=draw.workload.name,
        distribution=draw.distribution,
        max_error=float(error.flatten()[worst]),
        allowed=float(allowed.flatten()[worst]),
    )
    return Comparison(check, f"{where}: {_describe_wrong(values, expected, wrong, worst)}" if bool(wrong.any()) else "")


def _describe_wrong(values: torch.Tensor, expected: ExpectedOutput, wrong: torch.Tensor, worst: int) -> str:
    """Describe how many elements are wrong and where, and the worst one; `worst` is its index in the flat output."""
    count, total, shape = int(wrong.sum()), wrong.numel(), expected.contract.shape
    first = _index(int(wrong.flatten().int().argmax()), shape)
    last = _index(total - 1 - int(wrong.flatten().int().flip(0).argmax()), shape)
    spread = f", first at {first}, last at {last}" if count > 1 else ""
    return (
        f"{count} of {total} elements are wrong ({100 * count / total:.3g} %){spread}; worst at "
        f"{_index(worst, shape)}: expected {_number(expected.output, worst)}, got {_number(values, worst)}, "
        f"allowed error {_number(expected.allowed, worst)}; output shape {shape}"
    )


def _describe_not_finite(values: torch.Tensor, expected: ExpectedOutput, broken: torch.Tensor) -> str:
    """Describe how many elements are not finite, and the first of them."""
    first = int(broken.flatten().int().argmax())
    value, shape = _number(values, first), expected.contract.shape
    hint = ""
    if value not in ("inf", "-inf"):
        hint = (
            " (output memory that was never written, and what loads mask off without `other` or `padding_option`, "
            "hold NaN here)"
        )
    return (
        f"{int(broken.sum())} of {broken.numel()} elements are not finite, first at "
        f"{_index(first, shape)}: expected {_number(expected.output, first)}, got {value}{hint}; output shape {shape}"
    )


def _index(flat: int, shape: tuple[int, ...]) -> str:
    """Write the index of an element, given its index in the flat output."""
    index = []
    for size in reversed(shape):
        flat, coordinate = divmod(flat, size)
        index.append(coordinate)
    return f"[{', '.join(map(str, reversed(index)))}]"


def _number(values: torch.Tensor, flat: int) -> str:
    return f"{float(values.flatten()[flat]):.6g}"
