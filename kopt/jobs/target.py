"""What a job works on: the problem, its facts and the device, which many rules name among their inputs."""

from __future__ import annotations

from dataclasses import dataclass

from kopt.artifact import read_value
from kopt.jobs.command import Job
from kopt.model.device import Device
from kopt.model.problem import Problem, ProblemFacts
from kopt.store import Store


@dataclass(frozen=True)
class ProblemOnTarget:
    """A problem, the device that its kernels are built for, and the store that keeps what is learned about them."""

    problem: Problem
    facts: ProblemFacts
    device: Device
    store: Store


def target_of(job: Job) -> ProblemOnTarget:
    """Read the inputs `problem`, `facts` and `device` of a rule; its command names the store."""
    return ProblemOnTarget(
        problem=read_value(job.path("problem"), Problem),
        facts=read_value(job.path("facts"), ProblemFacts),
        device=read_value(job.path("device"), Device),
        store=job.store,
    )
