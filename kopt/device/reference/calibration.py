"""Prove that a problem's tolerance separates right from wrong: wrong outputs (probes) must fall outside the tolerance.

This is done once per problem, on draws like those by which candidates are judged.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

import torch

from kopt.device.reference.compare_result import compare_result
from kopt.device.reference.contract import input_names
from kopt.device.reference.distributions import Case, Draw, make_case, plan
from kopt.device.reference.expected_output import ExpectedResult, expected_result
from kopt.device.reference.randomness import refuse_random
from kopt.device.reference.tolerance import in_dtype
from kopt.model.base import Value
from kopt.model.problem import Problem, Workload

LOWER = {
    torch.bfloat16: torch.float8_e4m3fn,
    torch.float16: torch.float8_e4m3fn,
    torch.float32: torch.bfloat16,
    torch.float64: torch.float32,
}
"""Lower precision, by dtype, that the tolerance must reject: inputs are rounded to it, all else is exact."""

LEFT_OUT = 0.01
"""Share of an input that a `without:` probe leaves out at the end of a dimension: doing 99 % of the work is wrong."""


class Probe(Value):
    """A kind of output known to be wrong, and whether the comparison rejects it."""

    name: str
    """`zeros`, `constant`, `previous` (output of another draw), `without:<input>.<dimension>` or `lower:<dtype>`."""
    rejected_by: tuple[str, ...]
    """`workload/distribution` of the draws on which it is rejected."""
    vacuous: bool = False
    """True when the probe changes nothing on any draw: that part of the input, or its precision, is not needed."""

    @property
    def caught(self) -> bool:
        """Whether the probe is rejected, or has nothing to change."""
        may_be_vacuous = self.name.startswith(("without:", "lower:"))
        return bool(self.rejected_by) or (self.vacuous and may_be_vacuous)


class Calibration(Value):
    """The probes of one problem."""

    problem: str
    probes: tuple[Probe, ...]

    @property
    def refusal(self) -> str:
        """The reason, in one line, why the problem cannot be judged; empty when every probe is caught."""
        missed = [probe.name for probe in self.probes if not probe.caught]
        if not missed:
            return ""
        return (
            f"{self.problem}: no check can tell a right output from a wrong one ({', '.join(missed)}): "
            "tighten the tolerance, or choose workloads and inputs whose outputs are not all alike"
        )


@dataclass(frozen=True)
class _Sample:
    """A draw with its inputs and its expected result."""

    draw: Draw
    case: Case
    expected: ExpectedResult

    @property
    def tensors(self) -> tuple[torch.Tensor, ...]:
        """Tensors of the expected result."""
        return tuple(expected.output for expected in self.expected.tensors)


_MakeOutput = Callable[[_Sample], tuple[torch.Tensor, ...] | None]
"""Makes a wrong result, all of its tensors, for a sample; None where it cannot be made."""


def calibrate(problem: Problem, workloads: tuple[Workload, ...], seed: int = 0) -> Calibration:
    """Try every probe on every draw of a plan.

    Raises:
        ProblemError: the reference cannot be run, is random, or keeps state between calls.
    """
    samples: list[_Sample] = []
    for draw in plan(workloads, seed, "calibration"):
        case = make_case(problem, draw)
        if not samples:
            refuse_random(problem, case)
        samples.append(_Sample(draw, case, expected_result(problem, case)))
    return Calibration(problem=problem.name, probes=tuple(_try(name, make, samples) for name, make in _probes(samples)))


def _try(name: str, make: _MakeOutput, samples: list[_Sample]) -> Probe:
    rejected, effective = [], False
    for sample in samples:
        output = make(sample)
        if output is None:
            continue
        pairs = zip(output, sample.expected.contract.tensors, strict=True)
        rounded = [tensor.to(contract.dtype) for tensor, contract in pairs]
        effective = effective or not all(map(torch.equal, output, sample.tensors))
        if not compare_result(rounded, sample.expected, sample.draw).right:
            rejected.append(f"{sample.draw.workload.name}/{sample.draw.distribution}")
    return Probe(name=name, rejected_by=tuple(rejected), vacuous=not effective)


def _probes(samples: list[_Sample]) -> Iterator[tuple[str, _MakeOutput]]:
    """Yield each probe's name with the function that makes its wrong outputs."""
    yield "zeros", lambda sample: tuple(map(torch.zeros_like, sample.tensors))
    yield "constant", lambda sample: tuple(map(_constant, sample.tensors))
    yield "previous", partial(_previous, samples)
    first = samples[0].case
    names = input_names(first.model, len(first.inputs))
    for index, value in enumerate(first.inputs):
        if isinstance(value, torch.Tensor) and value.is_floating_point():
            for dimension in range(value.dim()):
                if any(sample.case.inputs[index].shape[dimension] > 1 for sample in samples):
                    yield f"without:{names[index]}.{dimension}", partial(_without, index, dimension)
    for value in first.inputs:
        if isinstance(value, torch.Tensor) and value.dtype in LOWER:
            lower = LOWER[value.dtype]
            yield f"lower:{str(lower).removeprefix('torch.')}", partial(_lower, lower)
            return


def _constant(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.double().nanmean().to(tensor.dtype).expand(tensor.shape)


def _previous(samples: list[_Sample], sample: _Sample) -> tuple[torch.Tensor, ...] | None:
    """Return the output of another draw of the same workload, as a kernel with cached outputs would."""
    others = [s for s in samples if s.draw.workload == sample.draw.workload and s is not sample]
    return others[0].tensors if others else None


def _without(index: int, dimension: int, sample: _Sample) -> tuple[torch.Tensor, ...] | None:
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


def _lower(dtype: torch.dtype, sample: _Sample) -> tuple[torch.Tensor, ...]:
    """Return the output of inputs rounded to a lower precision, which is rounded no further."""

    def rounded(value: object) -> object:
        if not (isinstance(value, torch.Tensor) and value.is_floating_point()):
            return value
        most = torch.finfo(dtype).max
        return value.double().clamp(-most, most).to(dtype).to(value.dtype)

    return in_dtype(sample.case, torch.float64, rounded, sample.expected.contract.changed)
