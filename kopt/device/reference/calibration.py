"""Proof that a problem's tolerance tells right from wrong: outputs that are known to be wrong must fall outside it.

Done once per problem, on draws like those that candidates are judged by.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch

from kopt.device.reference.compare import Expected, compare, expected, in_dtype
from kopt.device.reference.distributions import Case, Draw, make_case, plan
from kopt.device.reference.facts import input_names
from kopt.model.base import Value
from kopt.model.problem import Problem, Workload

LOWER = {
    torch.bfloat16: torch.float8_e4m3fn,
    torch.float16: torch.float8_e4m3fn,
    torch.float32: torch.bfloat16,
}
"""The lower precision that must be told from a dtype: inputs rounded to it, everything else exact."""

LEFT_OUT = 0.01
"""Share of an input that the probe of 99 % of the work leaves out, from the end of each dimension."""


class Probe(Value):
    """An output known to be wrong, and whether the judge sees it."""

    name: str
    """`zeros`, `constant`, `previous` (another draw's answer), `without:<input>.<dimension>`, `lower:<dtype>`."""
    rejected_by: tuple[str, ...]
    """`workload/distribution` of the draws that reject it."""
    vacuous: bool = False
    """True when it changes nothing on any draw: that part of the input, or its precision, is not needed."""

    @property
    def caught(self) -> bool:
        """Whether the judge sees it."""
        may_be_vacuous = self.name.startswith(("without:", "lower:"))
        return bool(self.rejected_by) or (self.vacuous and may_be_vacuous)


class Calibration(Value):
    """What the probes of one problem came to."""

    problem: str
    probes: tuple[Probe, ...]

    @property
    def refusal(self) -> str:
        """Why the problem cannot be judged, in one line; empty when every probe is caught."""
        missed = [probe.name for probe in self.probes if not probe.caught]
        if not missed:
            return ""
        return (
            f"{self.problem}: no check can tell a right output from a wrong one ({', '.join(missed)}): "
            "tighten the tolerance, or choose workloads and inputs whose outputs are not all alike"
        )


@dataclass(frozen=True)
class _Answered:
    draw: Draw
    case: Case
    expected: Expected


def calibrate(problem: Problem, workloads: tuple[Workload, ...], seed: int = 0) -> Calibration:
    """Try every probe on every draw of a plan.

    Raises:
        ProblemError: the reference cannot be run.
    """
    answered = []
    for draw in plan(workloads, seed, "calibration"):
        case = make_case(problem, draw)
        answered.append(_Answered(draw, case, expected(problem, case)))
    return Calibration(
        problem=problem.name, probes=tuple(_try(name, wrong, answered) for name, wrong in _probes(answered))
    )


def _try(name: str, wrong: Callable[[_Answered], torch.Tensor | None], answered: list[_Answered]) -> Probe:
    rejected, effective = [], False
    for one in answered:
        output = wrong(one)
        if output is None:
            continue
        rounded = output.to(one.expected.contract.dtype)
        effective = effective or not torch.equal(output, one.expected.output)
        if not compare(rounded, one.expected, one.draw).right:
            rejected.append(f"{one.draw.workload.name}/{one.draw.distribution}")
    return Probe(name=name, rejected_by=tuple(rejected), vacuous=not effective)


def _probes(answered: list[_Answered]) -> Iterator[tuple[str, Callable[[_Answered], torch.Tensor | None]]]:
    yield "zeros", lambda one: torch.zeros_like(one.expected.output)
    yield "constant", lambda one: one.expected.output.nanmean().expand(one.expected.output.shape)
    yield "previous", partial(_previous, answered)
    first = answered[0].case
    names = input_names(first.model, len(first.inputs))
    for at, value in enumerate(first.inputs):
        if isinstance(value, torch.Tensor) and value.is_floating_point():
            for dimension in range(value.dim()):
                if any(one.case.inputs[at].shape[dimension] > 1 for one in answered):
                    yield f"without:{names[at]}.{dimension}", partial(_without, at, dimension)
    for value in first.inputs:
        if isinstance(value, torch.Tensor) and value.dtype in LOWER:
            lower = LOWER[value.dtype]
            yield f"lower:{str(lower).removeprefix('torch.')}", partial(_lower, lower)
            return


def _previous(answered: list[_Answered], one: _Answered) -> torch.Tensor | None:
    """The answer to another draw of the same workload: what a cached output would be."""
    same = [other for other in answered if other.draw.workload == one.draw.workload and other is not one]
    return same[0].expected.output if same else None


def _without(at: int, dimension: int, one: _Answered) -> torch.Tensor | None:
    """The answer when the last hundredth of one input (at least one slice) counts as zeros."""
    target = one.case.inputs[at]
    size = target.shape[dimension]
    if size < 2:
        return None
    left = target.clone()
    left.narrow(dimension, size - math.ceil(LEFT_OUT * size), math.ceil(LEFT_OUT * size)).zero_()
    return in_dtype(one.case, torch.float64, lambda value: left if value is target else value)


def _lower(dtype: torch.dtype, one: _Answered) -> torch.Tensor:
    def rounded(value: Any) -> Any:
        if not (isinstance(value, torch.Tensor) and value.is_floating_point()):
            return value
        most = torch.finfo(dtype).max
        return value.float().clamp(-most, most).to(dtype).to(value.dtype)

    return in_dtype(one.case, torch.float64, rounded)
