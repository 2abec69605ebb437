"""Read the problem, its facts and the device, which many rules have as inputs."""

from __future__ import annotations

from dataclasses import dataclass

from kopt.artifact import read_value
from kopt.jobs.command import Job
from kopt.model.device import Device
from kopt.model.problem import Problem, ProblemFacts
from kopt.store import Store


@dataclass(frozen=True)
class ProblemOnTarget:
    """A problem, its facts, the device that kernels are built for, and the run's store."""

    problem: Problem
    facts: ProblemFacts
    device: Device
    store: Store


def target_of(job: Job) -> ProblemOnTarget:
    """Read the inputs `problem`, `facts` and `device` of a rule, and open the store that its command names."""
    return ProblemOnTarget(
        problem=read_value(job.path("problem"), Problem),
        facts=read_value(job.path("facts"), ProblemFacts),
        device=read_value(job.path("device"), Device),
        store=job.store,
    )
