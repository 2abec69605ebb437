"""Measure how much times scatter: one kernel against itself, timed side by side as candidates are."""

from __future__ import annotations

import statistics as stats
from typing import TYPE_CHECKING

from kopt import statistics
from kopt.errors import DeviceError
from kopt.model.base import Value
from kopt.model.problem import Problem

if TYPE_CHECKING:
    from kopt.device.cuda.results.verdicts import VerificationOutcome
    from kopt.device.cuda.timing.batch import TimedBatch

WARM_UP_CALLS = 10


class Noise(Value):
    """Ratios of a kernel's times to its own (A/A), over batches and workloads."""

    problem: str
    launches: int
    """Timed calls of each twin in a batch."""
    batches: int
    """Number of ratios, one per batch and workload."""
    inside: int
    """Number of ratios whose 95 % interval contains 1."""
    floor: float
    """Median distance from 1 that the intervals reach: a ratio closer to 1 than this counts as `same`."""
    worst: float
    """Largest distance of a ratio from 1."""


def noise_floor(problem: Problem, memory_bytes: int, *, batches: int, launches: int) -> Noise:
    """Time the seed kernel against its twin on the first visible device, in a process that has not used CUDA.

    Args:
        problem: the problem whose seed kernel is timed, on the main workloads.
        memory_bytes: memory of the device.
        batches: interleaved batches.
        launches: timed calls of each twin in a batch.

    Raises:
        DeviceError: there is no usable device, or the seed kernel does not pass on it.
        WorkerDied: the timer died.
    """
    from kopt.device.cuda.judge import LIMITS
    from kopt.device.cuda.judge_processes import JudgeProcesses
    from kopt.device.cuda.verification.verifier import Verifier

    twin = problem.seed.with_source(problem.seed.source + "\n# twin\n")
    with JudgeProcesses(problem, calibrated=True) as processes:
        outcomes = Verifier(processes, seed=2, workers=2, limits=LIMITS).verify({"a": problem.seed, "b": twin})
        batch = processes.begin_timing(memory_bytes, turn=0)
        for name, outcome in outcomes.items():
            _admit(batch, name, outcome, problem)
        batch.warm(["a", "b"], WARM_UP_CALLS)
        intervals, reaches = [], []
        for turn in range(batches):
            for times in batch.race(["a", "b"], launches, turn).values():
                intervals.append(statistics.ratio_interval(times["b"], times["a"], seed=turn))
                reaches.append(statistics.noise(times["b"], times["a"]))
    return Noise(
        problem=problem.name,
        launches=launches,
        batches=len(intervals),
        inside=sum(1.0 in interval for interval in intervals),
        floor=stats.median(reaches),
        worst=max(abs(interval.middle - 1.0) for interval in intervals),
    )


def _admit(batch: TimedBatch, name: str, outcome: VerificationOutcome, problem: Problem) -> None:
    from kopt.device.cuda.results.verdicts import Recorded

    verdict = batch.admit({name: outcome}).get(name) if isinstance(outcome, Recorded) else outcome
    if verdict is not None:
        raise DeviceError(f"the seed kernel of {problem.name} does not pass on this device: {verdict}")
