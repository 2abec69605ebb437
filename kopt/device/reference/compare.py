"""Decide whether an output is right: output contract, float64 reference, tolerance and comparison.

Works on whatever device the tensors are on, so that the judge without a GPU and the referee on one share it.  Running
candidates is the judges' business.

The tolerance is calibrated, not guessed.  With e the error of the eager model in the problem's own dtype, u the unit
roundoff of the output's dtype and S the root mean square of the reference, an element may be off by

    absolute + relative * |reference|
    relative = 2 max(u, largest e / |reference| where |reference| >= S / 10), at most 16 u (or 1e-4, for wide types)
    absolute = 2 (largest e beyond that where |reference| < S / 10), at most 4 u S (or 1e-4 S),
               and at least 16 times the largest error of the same model in float32

so that another order of summation passes, and a computation in a lower precision does not
(`kopt.device.reference.calibration` proves it for each problem).
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from dataclasses import dataclass

import torch

from kopt.device.reference.distributions import Case, Draw
from kopt.device.reference.facts import dtype_name
from kopt.errors import ProblemError
from kopt.model.problem import Problem, Tolerance
from kopt.model.verdict import Check

FACTOR = 2.0
"""Largest error over the eager model's own error."""

FLOAT32_FACTOR = 16.0
"""Error over the float32 model's own error that is always allowed: room for another order of summation."""

SMALL = 0.1
"""Share of the root mean square below which the absolute part of the tolerance decides."""


@dataclass(frozen=True)
class Described:
    """An output without its values."""

    kind: str
    """Name of its exact type; `Tensor` means `torch.Tensor` itself, no subclass."""
    shape: tuple[int, ...] = ()
    dtype: str = ""
    """E.g. `bfloat16`."""
    device: str = ""
    """E.g. `cpu`."""


@dataclass(frozen=True)
class Contract:
    """Exact shape, dtype and device that an output must have."""

    shape: tuple[int, ...]
    dtype: torch.dtype
    device: str

    def violation(self, output: Described) -> str:
        """Describe what is wrong with an output's type, shape, dtype or device; empty when nothing is wrong."""
        if output.kind != "Tensor":
            return f"the output must be one torch.Tensor, got {output.kind} (no tuple, None or subclass is taken)"
        required = (self.shape, dtype_name(self.dtype), self.device)
        actual = (output.shape, output.dtype, output.device)
        for name, wanted, got in zip(("shape", "dtype", "device"), required, actual, strict=True):
            if wanted != got:
                return f"the output's {name} must be {wanted}, got {got}"
        return ""


def described(output: object) -> Described:
    """Describe an output; a type other than `torch.Tensor` is named with its module."""
    if type(output) is not torch.Tensor:
        return Described(f"{type(output).__module__}.{type(output).__qualname__}")
    return Described("Tensor", tuple(output.shape), dtype_name(output.dtype), output.device.type)


@dataclass(frozen=True)
class ExpectedOutput:
    """The right output of one case, and how far off an element may be."""

    contract: Contract
    output: torch.Tensor
    """The reference's output, float64."""
    allowed: torch.Tensor
    """Largest allowed error by element; NaN where the reference is not finite, so that any value is right."""


@dataclass(frozen=True)
class Comparison:
    """Result of comparing an output with the right one."""

    check: Check | None
    """Largest error and the allowed one; None where the error is not finite, or there is no element."""
    reason: str
    """What is wrong, for the proposer; empty when the output is right."""

    @property
    def right(self) -> bool:
        """Whether the output is accepted."""
        return not self.reason


def output_contract(case: Case) -> Contract:
    """Return shape, dtype and device of the eager model's output.

    Raises:
        ProblemError: the reference does not return one tensor.
    """
    return _contract(_run(case.model, case.inputs))


def expected_output(problem: Problem, case: Case, eager: torch.Tensor | None = None) -> ExpectedOutput:
    """Compute the float64 output of a case with its tolerance: the problem's own, or the calibrated one.

    Args:
        problem: the problem.
        case: one draw of it.
        eager: the eager model's output where it is known; for a part of a case, that part of the whole output.

    Raises:
        ProblemError: the reference does not return one tensor.
    """
    eager = _run(case.model, case.inputs) if eager is None else eager
    reference = in_dtype(case, torch.float64)
    finite = reference.isfinite() & reference.to(eager.dtype).isfinite()
    if problem.tolerance is not None:
        tolerance = problem.tolerance
    else:
        tolerance = calibrated(eager, in_dtype(case, torch.float32), reference, finite)
    allowed = tolerance.absolute + tolerance.relative * reference.abs()
    return ExpectedOutput(_contract(eager), reference, torch.where(finite, allowed, torch.nan))


def eager_output(case: Case) -> torch.Tensor:
    """Return the eager model's output in the problem's own dtype.

    Raises:
        ProblemError: the reference does not return one tensor.
    """
    return _run(case.model, case.inputs)


def in_dtype(case: Case, dtype: torch.dtype, alter: Callable[[object], object] = lambda value: value) -> torch.Tensor:
    """Compute the model's output in `dtype`, and return it as float64; `alter` may change each input before."""
    model = copy.deepcopy(case.model).to(dtype)
    inputs = tuple(_widened(alter(value), dtype) for value in case.inputs)
    return _run(model, inputs).double()


def calibrated(eager: torch.Tensor, float32: torch.Tensor, reference: torch.Tensor, finite: torch.Tensor) -> Tolerance:
    """Return the tolerance that the module's docstring defines."""
    unit = torch.finfo(eager.dtype).eps / 2 if eager.is_floating_point() else 0.0
    usable = finite & eager.isfinite()
    size, error = reference[usable].abs(), (eager.double() - reference)[usable].abs()
    scale = float(size.square().mean().sqrt()) if size.numel() else 0.0
    large = size >= SMALL * scale
    ratio = _largest(error[large] / size[large].clamp_min(torch.finfo(torch.float64).tiny))
    relative = min(FACTOR * max(unit, ratio), max(16 * unit, 1e-4))
    beyond = FACTOR * _largest((error - relative / FACTOR * size)[~large])
    always = FLOAT32_FACTOR * _largest((float32 - reference)[usable & float32.isfinite()].abs())
    return Tolerance(absolute=max(min(beyond, max(4 * unit, 1e-4) * scale), always), relative=relative)


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
        hint = " (output memory that was never written, and masked-off loads without `other`, hold NaN here)"
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


def _largest(values: torch.Tensor) -> float:
    largest = float(values.max()) if values.numel() else 0.0
    return largest if math.isfinite(largest) and largest > 0 else 0.0


def _contract(eager: torch.Tensor) -> Contract:
    return Contract(tuple(eager.shape), eager.dtype, eager.device.type)


def _widened(value: object, dtype: torch.dtype) -> object:
    return value.to(dtype) if isinstance(value, torch.Tensor) and value.is_floating_point() else value


def _run(model: torch.nn.Module, inputs: tuple[object, ...]) -> torch.Tensor:
    """Return the model's output on copies of the inputs, which the model may write to."""
    copies = tuple(value.clone() if isinstance(value, torch.Tensor) else value for value in inputs)
    with torch.no_grad():
        output = model(*copies)
    if not isinstance(output, torch.Tensor):
        raise ProblemError(f"the reference returns {type(output).__name__}, not one tensor")
    return output
