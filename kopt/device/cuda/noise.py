"""How much the clock scatters: one kernel twice, timed side by side as candidates are."""

from __future__ import annotations

import statistics as stats
from typing import TYPE_CHECKING

from kopt import statistics
from kopt.errors import DeviceError
from kopt.model.base import Value
from kopt.model.problem import Problem
from kopt.model.verdict import Verdict

if TYPE_CHECKING:
    from kopt.device.cuda.batch import TimedBatch
    from kopt.device.cuda.verdicts import Recorded

WARM_UP_CALLS = 10


class Noise(Value):
    """What the same kernel's times come to against themselves (A/A), over batches and workloads."""

    problem: str
    launches: int
    """Timed calls of each twin in a batch."""
    batches: int
    """Ratios that were taken, one per batch and workload."""
    inside: int
    """Ratios whose 95 % interval holds 1."""
    floor: float
    """Median over them of how far the interval reaches from 1: what is closer to 1 than this is `same`."""
    worst: float
    """Largest distance of a ratio from 1."""


def noise_floor(problem: Problem, memory_bytes: int, *, batches: int, launches: int) -> Noise:
    """Time the seed kernel against its twin on the first visible device, in a process that has not used CUDA.

    Args:
        problem: whose seed kernel, on its main workloads.
        memory_bytes: of the device.
        batches: interleaved batches.
        launches: timed calls of each twin in a batch.

    Raises:
        DeviceError: there is no usable device, or the seed kernel does not pass on it.
        WorkerDied: the timer broke.
    """
    from kopt.device.cuda.bench import JudgeProcesses
    from kopt.device.cuda.judge import LIMITS

    twin = problem.seed.with_source(problem.seed.source + "\n# twin\n")
    with JudgeProcesses(problem, seed=2, workers=2, limits=LIMITS, calibrated=True) as bench:
        recorded = bench.verify({"a": problem.seed, "b": twin})
        batch = bench.begin_timing(memory_bytes, turn=0)
        for name, one in recorded.items():
            _admit(batch, name, one, problem)
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


def _admit(batch: TimedBatch, name: str, heard: Recorded | Verdict, problem: Problem) -> None:
    from kopt.device.cuda.verdicts import Recorded

    wrong = batch.admit(name, heard) if isinstance(heard, Recorded) else heard
    if wrong is not None:
        raise DeviceError(f"the seed kernel of {problem.name} does not pass on this device: {wrong}")
