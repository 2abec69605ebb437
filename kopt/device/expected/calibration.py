"""Prove that a problem's tolerance separates right from wrong: wrong outputs (probes) must fall outside the tolerance.

This is done once per problem, on draws like those by which candidates are judged.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import torch

from kopt.device.draws.distributions import Case, Draw, make_case, plan
from kopt.device.expected.compare_result import compare_result
from kopt.device.expected.expected_output import ExpectedResult, expected_result
from kopt.device.expected.randomness import refuse_random
from kopt.device.expected.runs import in_dtype
from kopt.device.reference.given import input_names
from kopt.device.reference.layout import dtype_name
from kopt.model.base import Value
from kopt.model.problem import Problem, Workload

LOWER = {
    torch.bfloat16: torch.float8_e4m3fn,
    torch.float16: torch.float8_e4m3fn,
    torch.float32: torch.bfloat16,
    torch.float64: torch.float32,
}
"""Lower precision, by dtype, that the tolerance must reject: inputs are rounded to it, all else is exact.

The dtype is that of the first input, or the 16-bit type in which the reference says that it computes.
"""

LEFT_OUT = 0.01
"""Share of an input that a `without:` probe leaves out at the end of a dimension: doing 99 % of the work is wrong."""


class Probe(Value):
    """A kind of output known to be wrong, and whether the comparison rejects it."""

    name: str
    """`zeros`, `constant`, `previous` (output of another draw), `without:<input>.<dimension>` or `lower:<dtype>`."""
    rejected_by: tuple[str, ...]
    """`workload/distribution` of the first draw on which it is rejected; empty when there is none."""
    vacuous: bool = False
    """Whether the probe can be made on no draw, or changes nothing: that input, or its precision, is not needed."""

    @property
    def caught(self) -> bool:
        """Whether the probe is rejected, or has nothing to change."""
        may_be_vacuous = self.name.startswith(("without:", "lower:", "constant"))
        return bool(self.rejected_by) or (self.vacuous and may_be_vacuous)


class Calibration(Value):
    """The probes of one problem."""

    problem: str
    dtype: str
    """The problem's floating-point type."""
    declared: bool
    """The problem declares its tolerance."""
    probes: tuple[Probe, ...]

    @property
    def refusal(self) -> str:
        """The reason, in one line, why the problem cannot be judged, and the cure; empty when every probe is caught."""
        missed = [probe.name for probe in self.probes if not probe.caught]
        if not missed:
            return ""
        if self.declared:
            return f"{self.problem}: the declared tolerance accepts {_wrong_output(missed[0])}: tighten the tolerance"
        return f"{self.problem}: {self._reason(missed)}"

    def _reason(self, missed: list[str]) -> str:
        if "zeros" in missed:
            return (
                "outputs are zero, or too close to zero, on all inputs that were tried, so that a kernel which writes "
                "zeros would pass: return a value that depends on the inputs"
            )
        if "previous" in missed or "constant" in missed:
            return "outputs hardly vary with the inputs, so that a constant would pass: return per-row values"
        wide = "float64" if self.dtype == "float32" else "float32"
        return (
            f"in {self.dtype} a right output cannot be told from {_wrong_output(missed[0])}: return {wide}, as "
            f"x.to(torch.promote_types(x.dtype, torch.{wide})) does, or less reduced values, or declare a tighter "
            "tolerance in problem.yaml (where bits decide: `tolerance: {absolute: 0, relative: 0}`)"
        )


def _wrong_output(probe: str) -> str:
    """Describe a probe in words."""
    kind, _, what = probe.partition(":")
    if kind == "without":
        name, _, dimension = what.rpartition(".")
        return f"one that leaves out the last hundredth of {name} along dimension {dimension}"
    if kind == "lower":
        return f"one that is computed from inputs in {what}"
    return {"zeros": "zeros", "constant": "a constant", "previous": "the output for other inputs"}[kind]


@dataclass(frozen=True)
class _Sample:
    """A draw with its inputs and its expected result."""

    draw: Draw
    case: Case
    expected: ExpectedResult

    @property
    def tensors(self) -> _Tensors:
        """Tensors of the expected result."""
        return tuple(expected.output for expected in self.expected.tensors)


class _Samples:
    """The samples of some draws, each made when it is asked for."""

    def __init__(self, problem: Problem, draws: Sequence[Draw]) -> None:
        self._problem = problem
        self.draws = draws
        self._made: dict[int, _Sample] = {}

    def __iter__(self) -> Iterator[_Sample]:
        return (self[place] for place in range(len(self.draws)))

    def __getitem__(self, place: int) -> _Sample:
        if place not in self._made:
            case = make_case(self._problem, self.draws[place])
            self._made[place] = _Sample(self.draws[place], case, expected_result(self._problem, case))
        return self._made[place]


_Tensors = tuple[torch.Tensor, ...]
_MakeOutput = Callable[[_Sample], _Tensors | None]
"""Makes a wrong result, all of its tensors, for a sample; None where it cannot be made."""


def calibrate(problem: Problem, workloads: tuple[Workload, ...], seed: int = 0) -> Calibration:
    """Try every probe on the draws of a plan.

    Raises:
        ProblemError: the reference cannot be run, is random, or keeps state between calls.
    """
    samples = _Samples(problem, plan(workloads, seed, "calibration"))
    refuse_random(problem, samples[0].case)
    return Calibration(
        problem=problem.name,
        dtype=problem.dtype.value,
        declared=problem.tolerance is not None,
        probes=tuple(_try(name, make, samples) for name, make in _probes(samples)),
    )


def _try(name: str, make: _MakeOutput, samples: _Samples) -> Probe:
    """Try a probe on the draws, until one that rejects it."""
    effective = False
    for sample in samples:
        output = make(sample)
        if output is None:
            continue
        effective = effective or not all(map(torch.equal, output, sample.tensors))
        pairs = zip(output, sample.expected.contract.tensors, strict=True)
        stored = [_stored(tensor, contract.dtype) for tensor, contract in pairs]
        if not compare_result(stored, sample.expected, sample.draw, sample.case).right:
            return Probe(name=name, rejected_by=(f"{sample.draw.workload.name}/{sample.draw.label}",))
    return Probe(name=name, rejected_by=(), vacuous=not effective)


def _stored(output: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """Return an output in its dtype; NaN and infinities, which integers lack, become zero there."""
    return (output if dtype.is_floating_point else output.nan_to_num(0, 0, 0)).to(dtype)


def _probes(samples: _Samples) -> Iterator[tuple[str, _MakeOutput]]:
    """Yield each probe's name with the function that makes its wrong outputs."""
    yield "zeros", lambda sample: tuple(map(torch.zeros_like, sample.tensors))
    yield "constant", _constant
    yield "previous", partial(_previous, samples)
    first = samples[0].case
    names = input_names(first.model, len(first.inputs))
    for index, value in enumerate(first.inputs):
        if isinstance(value, torch.Tensor) and value.is_floating_point():
            for dimension in range(value.dim()):
                if value.shape[dimension] > 1:
                    yield f"without:{names[index]}.{dimension}", partial(_without, index, dimension)
    for value in first.inputs:
        if isinstance(value, torch.Tensor) and value.dtype in LOWER:
            lower = LOWER[samples[0].expected.named or value.dtype]
            yield f"lower:{dtype_name(lower)}", partial(_lower, lower)
            return


def _constant(sample: _Sample) -> _Tensors | None:
    """Return the mean of each tensor's numbers throughout; None where all have one number, which is its own mean."""
    if all(tensor.numel() <= 1 for tensor in sample.tensors):
        return None
    return tuple(map(_mean, sample.tensors))


def _mean(tensor: torch.Tensor) -> torch.Tensor:
    numbers = tensor[tensor.isfinite()]
    return numbers.double().mean().to(tensor.dtype).expand(tensor.shape) if numbers.numel() else tensor


def _previous(samples: _Samples, sample: _Sample) -> _Tensors | None:
    """Return the output of another draw of the same workload, as a kernel with cached outputs would."""
    others = (at for at, d in enumerate(samples.draws) if d.workload == sample.draw.workload and d != sample.draw)
    other = next(others, None)
    return samples[other].tensors if other is not None else None


def _without(index: int, dimension: int, sample: _Sample) -> _Tensors | None:
    """Return the output when the last hundredth of one input (at least one slice) counts as zeros."""
    target = sample.case.inputs[index]
    size = target.shape[dimension]
    if size < 2:
        return None
    remaining = target.clone()
    remaining.narrow(dimension, size - math.ceil(LEFT_OUT * size), math.ceil(LEFT_OUT * size)).zero_()
    return in_dtype(
        sample.case,
        torch.float64,
        lambda value: remaining if value is target else value,
        sample.expected.contract.changed,
    )


def _lower(dtype: torch.dtype, sample: _Sample) -> _Tensors:
    """Return the output of inputs rounded to a lower precision, which is rounded no further."""

    def rounded(value: object) -> object:
        if not (isinstance(value, torch.Tensor) and value.is_floating_point()):
            return value
        most = torch.finfo(dtype).max
        return value.double().clamp(-most, most).to(dtype).to(value.dtype)

    return in_dtype(sample.case, torch.float64, rounded, sample.expected.contract.changed)
