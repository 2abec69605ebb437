"""How GPU jobs take their settings from a rule's command line."""

from __future__ import annotations

from kopt import artifact
from kopt.artifact import read_value
from kopt.jobs.command import Job
from kopt.model.device import Device
from kopt.model.problem import Problem, ProblemFacts
from kopt.stages.evaluate_cuda import Plan
from kopt.stages.measure_cuda import FinalsOptions, MeasureContext


def plan_of(job: Job) -> Plan:
    """How a chunk is judged."""
    settings = job.settings
    return Plan(
        seed=settings.seed,
        workers=settings.workers_per_gpu,
        seconds=settings.limits.judge_seconds,
        wait_s=settings.limits.gpu_wait_seconds,
        warmup=settings.benchmark_warmup,
        repeat=settings.benchmark_repeat,
    )


def course_of(job: Job, purpose: str, *, processes: int = 1) -> FinalsOptions:
    """How a fresh measurement is made; its inputs follow from the run's seed and the purpose."""
    settings = job.settings
    return FinalsOptions(
        seed=int(artifact.digest([settings.seed, purpose])[:12], 16),
        warmup=settings.benchmark_warmup,
        repeat=settings.benchmark_repeat,
        workers=settings.workers_per_gpu,
        seconds=settings.limits.judge_seconds,
        wait_s=settings.limits.gpu_wait_seconds,
        processes=processes,
    )


def scene_of(job: Job) -> MeasureContext:
    """What is measured: the files of the word `scene`, problem, facts and device."""
    problem, facts, device = job.paths("scene")
    return MeasureContext(
        read_value(problem, Problem), read_value(facts, ProblemFacts), read_value(device, Device), job.store
    )
