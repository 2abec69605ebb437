"""Is an output right: the contract that it must keep, the float64 reference, the tolerance, and the comparison.

Works on whatever device the tensors are on, so that the interpreter's judge and a GPU's referee share it.  Owns no
process: who runs the candidate, and where, is their business.

The tolerance is calibrated, not guessed.  With e the error of the eager model in the problem's own dtype, u the unit
roundoff of the output's dtype and S the root mean square of the reference, an element may be off by

    absolute + relative * |reference|
    relative = 2 max(u, largest e / |reference| where |reference| >= S / 10), at most 16 u (or 1e-4, for wide types)
    absolute = 2 (largest e beyond that where |reference| < S / 10), at most 4 u S (or 1e-4 S),
               and at least 16 times the largest error of the same model in float32

so that another order of summation passes, and a recomputation in a lower precision does not
(`kopt.device.reference.calibration` proves it for each problem).
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

from kopt.device.reference.distributions import Case, Draw
from kopt.device.reference.facts import dtype_name
from kopt.errors import ProblemError
from kopt.model.problem import Problem, Tolerance
from kopt.model.verdict import Check

FACTOR = 2.0
"""How much larger than the eager model's own error an error may be."""

FLOAT32_FACTOR = 16.0
"""How much larger than the float32 model's error an error may always be: room for another order of summation."""

SMALL = 0.1
"""Elements under this share of the root mean square are judged by the absolute part."""


@dataclass(frozen=True)
class Described:
    """What an output is, without its values."""

    kind: str
    """Name of its exact type; `Tensor` for nothing but `torch.Tensor` itself."""
    shape: tuple[int, ...] = ()
    dtype: str = ""
    """E.g. `bfloat16`."""
    device: str = ""
    """E.g. `cpu`."""


@dataclass(frozen=True)
class Contract:
    """What the output must be, exactly."""

    shape: tuple[int, ...]
    dtype: torch.dtype
    device: str

    def violation(self, output: Described) -> str:
        """What is wrong with an output's type, shape, dtype or device; empty when nothing is."""
        if output.kind != "Tensor":
            return f"the output must be one torch.Tensor, got {output.kind} (no tuple, None or subclass is taken)"
        wanted = (self.shape, dtype_name(self.dtype), self.device)
        found = (output.shape, output.dtype, output.device)
        for what, one, other in zip(("shape", "dtype", "device"), wanted, found, strict=True):
            if one != other:
                return f"the output's {what} must be {one}, got {other}"
        return ""


def described(output: object) -> Described:
    """What an output is; a type of another name or a subclass is named with its module."""
    if type(output) is not torch.Tensor:
        return Described(f"{type(output).__module__}.{type(output).__qualname__}")
    return Described("Tensor", tuple(output.shape), dtype_name(output.dtype), output.device.type)


@dataclass(frozen=True)
class Expected:
    """The right answer to one case, in float64, and how far off an element may be."""

    contract: Contract
    output: torch.Tensor
    allowed: torch.Tensor
    """Largest accepted error by element; NaN where the reference is not finite and nothing is asked."""


@dataclass(frozen=True)
class Comparison:
    """An output against the right answer."""

    check: Check | None
    """Error and what was allowed; None where the output has no finite error to tell."""
    reason: str
    """Empty when the output is right; else what is wrong, for the proposer."""

    @property
    def right(self) -> bool:
        """Whether the output is accepted."""
        return not self.reason


def output_contract(case: Case) -> Contract:
    """Shape, dtype and device of the eager model's output.

    Raises:
        ProblemError: the reference does not return one tensor.
    """
    return _contract(_run(case.model, case.inputs))


def expected(problem: Problem, case: Case, eager: torch.Tensor | None = None) -> Expected:
    """The float64 answer to a case with its tolerance: the problem's own, or calibrated.

    Args:
        problem: the problem.
        case: one draw of it.
        eager: what the eager model gives, where it is known; for a part of a case, that part of the whole's.

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
    return Expected(_contract(eager), reference, torch.where(finite, allowed, torch.nan))


def eager_output(case: Case) -> torch.Tensor:
    """What the eager model gives in the problem's own dtype.

    Raises:
        ProblemError: the reference does not return one tensor.
    """
    return _run(case.model, case.inputs)


def in_dtype(case: Case, dtype: torch.dtype, alter: Callable[[Any], Any] = lambda value: value) -> torch.Tensor:
    """The model's output when everything is computed in `dtype`, as float64; `alter` may change each input first."""
    model = copy.deepcopy(case.model).to(dtype)
    inputs = tuple(_widened(alter(value), dtype) for value in case.inputs)
    return _run(model, inputs).double()


def calibrated(eager: torch.Tensor, float32: torch.Tensor, reference: torch.Tensor, finite: torch.Tensor) -> Tolerance:
    """The tolerance that the module's docstring defines."""
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


def compare(output: torch.Tensor, wanted: Expected, draw: Draw) -> Comparison:
    """Compare an output that keeps the contract with the right answer."""
    where = f"workload {draw.workload.name}, {draw.distribution} inputs"
    asked = ~wanted.allowed.isnan()
    got = output.double()
    broken = asked & ~got.isfinite()
    if bool(broken.any()):
        return Comparison(None, f"{where}: {_not_finite(got, wanted, broken)}")
    error = torch.where(asked, (got - wanted.output).abs(), 0.0)
    allowed = torch.where(asked, wanted.allowed, 0.0)
    wrong = error > allowed
    if not error.numel():
        return Comparison(None, "")
    at = int((error - allowed).argmax()) if bool(wrong.any()) else int(error.argmax())
    check = Check(
        workload=draw.workload.name,
        distribution=draw.distribution,
        max_error=float(error.flatten()[at]),
        allowed=float(allowed.flatten()[at]),
    )
    return Comparison(check, f"{where}: {_wrong(got, wanted, wrong, at)}" if bool(wrong.any()) else "")


def _wrong(got: torch.Tensor, wanted: Expected, wrong: torch.Tensor, at: int) -> str:
    count, total = int(wrong.sum()), wrong.numel()
    first = _index(int(wrong.flatten().int().argmax()), wanted.contract.shape)
    last = _index(total - 1 - int(wrong.flatten().int().flip(0).argmax()), wanted.contract.shape)
    spread = f", first at {first}, last at {last}" if count > 1 else ""
    return (
        f"{count} of {total} elements are wrong ({100 * count / total:.3g} %){spread}; worst at "
        f"{_index(at, wanted.contract.shape)}: expected {_number(wanted.output, at)}, got {_number(got, at)}, "
        f"allowed error {_number(wanted.allowed, at)}; output shape {wanted.contract.shape}"
    )


def _not_finite(got: torch.Tensor, wanted: Expected, broken: torch.Tensor) -> str:
    at = int(broken.flatten().int().argmax())
    value = _number(got, at)
    hint = (
        ""
        if value in ("inf", "-inf")
        else (" (output memory that was never written, and masked-off loads without `other`, hold NaN here)")
    )
    return (
        f"{int(broken.sum())} of {broken.numel()} elements are not finite, first at "
        f"{_index(at, wanted.contract.shape)}: expected {_number(wanted.output, at)}, got {value}{hint}; "
        f"output shape {wanted.contract.shape}"
    )


def _index(flat: int, shape: tuple[int, ...]) -> str:
    index = []
    for size in reversed(shape):
        flat, at = divmod(flat, size)
        index.append(at)
    return f"[{', '.join(map(str, reversed(index)))}]"


def _number(values: torch.Tensor, at: int) -> str:
    return f"{float(values.flatten()[at]):.6g}"


def _largest(values: torch.Tensor) -> float:
    largest = float(values.max()) if values.numel() else 0.0
    return largest if math.isfinite(largest) and largest > 0 else 0.0


def _contract(eager: torch.Tensor) -> Contract:
    return Contract(tuple(eager.shape), eager.dtype, eager.device.type)


def _widened(value: Any, dtype: torch.dtype) -> Any:
    return value.to(dtype) if isinstance(value, torch.Tensor) and value.is_floating_point() else value


def _run(model: torch.nn.Module, inputs: tuple[Any, ...]) -> torch.Tensor:
    """The model's output on copies of the inputs, which the model may write to."""
    copies = tuple(value.clone() if isinstance(value, torch.Tensor) else value for value in inputs)
    with torch.no_grad():
        output = model(*copies)
    if not isinstance(output, torch.Tensor):
        raise ProblemError(f"the reference returns {type(output).__name__}, not one tensor")
    return output
