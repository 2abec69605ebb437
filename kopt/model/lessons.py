"""Define what a run leaves to later runs: how much time each transformation of the rewriter saved or cost."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from kopt.model.base import Value
from kopt.model.problem import ProblemFacts

Kind = Literal["products", "reducing", "keeping"]
"""What decides a problem's time: matrix products; memory traffic to read much and write little; traffic of both."""

OPERATIONS_PER_BYTE = 32.0
"""Operations of matrix products for each byte that a problem must move, beyond which products decide its time."""
REDUCED = 0.25
"""Bytes of outputs relative to those of inputs, up to which a problem counts as reducing."""


def kind_of(facts: ProblemFacts) -> Kind:
    """Say of which kind a problem is."""
    moved = sum(workload.bytes for workload in facts.workloads)
    if sum(workload.matmul_flops for workload in facts.workloads) > OPERATIONS_PER_BYTE * moved:
        return "products"
    read = sum(workload.input_bytes for workload in facts.workloads)
    written = sum(workload.output_bytes for workload in facts.workloads)
    return "reducing" if written <= REDUCED * read else "keeping"


class Lesson(Value):
    """The effect of one transformation in a run, as a logarithm of the parent's time over the child's."""

    move: str
    """Name of the transformation, with a `+` where the parent's lineage had it already."""
    mean: float = Field(ge=-10, le=10)
    deviation: float = Field(gt=0, le=10)
    """Standard deviation of what the run shows of the effect."""
    wasted: float = Field(ge=0, le=1e9)
    """Candidates that failed or whose compiled code was the parent's; a stack of several counts as a part of each."""
    tried: float = Field(gt=0, le=1e9)
    """Candidates in all, counted likewise."""


class RunLessons(Value):
    """What one run found."""

    problem: str
    """Digest of the problem."""
    kind: Kind
    device: str
    judge: str
    """Backend that found the times; lessons of an estimate are none for a GPU."""
    lessons: tuple[Lesson, ...]
    """In the order of their names."""


class Lessons(Value):
    """What earlier runs found, as one run takes it along: `lessons.json`."""

    problem: str
    """Digest of the problem of the run that takes it along."""
    kind: Kind
    """Kind of that problem."""
    runs: tuple[RunLessons, ...]
