"""The judge on a GPU: verdicts by the referee, times by the timer; a chunk of candidates on one device.

The caller's process becomes the zygote (`kopt.device.hardware.zygote`): it must not have used CUDA, and sees one
device.

    zygote ─┬─ referee        inputs, answers, comparison; no candidate code
            ├─ contestants    one caged child per candidate: its Python code, on every draw
            └─ timer          replays what the contestants recorded, on fresh inputs, and times it; no candidate code

A candidate passes when its own process gave right outputs on every draw, and the replay of its recorded calls, the
thing that is timed, gives right outputs too: on NaN-filled memory, on inputs that it leaves unchanged, not without its
launches, and in a random timed call.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from kopt.device.build.precompiled import Compiled, all_compiled
from kopt.device.cuda.bench import JudgeProcesses
from kopt.device.cuda.race import ChunkRace, JudgedKernel, Race
from kopt.device.cuda.times import INCUMBENT, Times
from kopt.device.hardware.measured import MeasuredDevice
from kopt.device.hardware.nvml import Clocks
from kopt.model.base import Value
from kopt.model.build import Built
from kopt.model.kernel import Kernel
from kopt.model.problem import Problem, ProblemFacts
from kopt.model.timing import Finals
from kopt.sandbox.cage import Limits
from kopt.store import Store

log = logging.getLogger(__name__)

LIMITS = Limits(wall_s=90.0)
BASELINES = ("eager", "compile", "max-autotune")


class CudaJob(Value):
    """One kernel to judge."""

    kernel: Kernel
    problem: Problem
    seed: int
    """The run's seed; inputs follow from it and from all kernels of the chunk."""
    build: Built | None = None
    """What the CPU stage made of it, for this device and these versions; if given, nothing else may be launched."""


class Final(Value):
    """How a final measurement is made."""

    baselines: tuple[str, ...] = BASELINES
    """`eager`, `compile`, `max-autotune`."""
    warmup: int = 25
    """Untimed calls of each."""
    repeat: int = 100
    """Timed calls of each, over all processes."""
    processes: int = 4
    """Timer processes, one after the other."""


@dataclass(frozen=True)
class ProblemOnDevice:
    """What is known of problem and device before a kernel is judged."""

    facts: ProblemFacts
    """The problem's facts, for its floor."""
    found: MeasuredDevice
    """The device, measured."""
    store: Store | None = None
    """Where the texts lie that builds name; without one everything is compiled again."""

    def judging(self, bench: JudgeProcesses, race: Race) -> ChunkRace:
        """The course of a chunk here."""
        return ChunkRace(bench, Times(self.facts, self.found), race, Clocks(self.found.uuid).read)

    def compiled(self, jobs: Mapping[str, CudaJob]) -> dict[str, Compiled]:
        """What the CPU stage made of the kernels, as far as it is known."""
        return all_compiled({name: job.build for name, job in jobs.items()}, self.store)


def judge_all(
    jobs: Sequence[CudaJob],
    ground: ProblemOnDevice,
    *,
    workers: int,
    limits: Limits = LIMITS,
    incumbent: CudaJob | None = None,
    race: Race = Race(),  # noqa: B008 - frozen
    calibrated: bool = False,
) -> Iterator[tuple[int, JudgedKernel]]:
    """Judge a chunk of one problem on the first visible device; yields (index, judged).

    Failures come when all have been verified, the others when all have raced.

    Args:
        jobs: what to judge; all of one problem and seed.
        ground: the problem's facts, the device, the store.
        workers: contestants at a time; timing is always alone.
        limits: of one contestant.
        incumbent: timed along; ratios are to it.
        race: how long to time.
        calibrated: the problem's checks have been proven before (`kopt.device.reference.calibration`).

    Raises:
        DeviceError: there is no usable device, or it broke.
        ProblemError: the problem cannot be judged.
    """
    if not jobs:
        return
    with JudgeProcesses(
        jobs[0].problem, seed=jobs[0].seed, workers=workers, limits=limits, calibrated=calibrated
    ) as bench:
        yield from judge_on(bench, jobs, ground, incumbent=incumbent, race=race)
    _log_account(bench)


def judge_on(
    bench: JudgeProcesses,
    jobs: Sequence[CudaJob],
    ground: ProblemOnDevice,
    *,
    incumbent: CudaJob | None = None,
    race: Race = Race(),  # noqa: B008 - frozen
) -> Iterator[tuple[int, JudgedKernel]]:
    """Like `judge_all`, on a bench that stands."""
    named = {str(at): job for at, job in enumerate(jobs)}
    if incumbent is not None:
        named[INCUMBENT] = incumbent
    for name, judged in ground.judging(bench, race).judge(_kernels(named), ground.compiled(named)):
        yield int(name), judged


def measure_finalists(
    finalists: Mapping[str, CudaJob],
    ground: ProblemOnDevice,
    *,
    plan: Final = Final(),  # noqa: B008 - frozen
    workers: int = 2,
    limits: Limits = LIMITS,
) -> Finals:
    """Verify finalists anew and time them with baselines, interleaved, in fresh processes.

    Args:
        finalists: by name; at least one; all of one problem and seed, another seed than the search's.
        ground: the problem's facts, the device, the store.
        plan: how long to time, and beside what.
        workers: contestants at a time; timing is always alone.
        limits: of one contestant.

    Raises:
        DeviceError, ProblemError: as for `judge_all`.
    """
    first = next(iter(finalists.values()))
    with JudgeProcesses(first.problem, seed=first.seed, workers=workers, limits=limits, calibrated=True) as bench:
        judging = ground.judging(bench, Race(warmup=plan.warmup, repeat=plan.repeat))
        for name, heard in bench.verify(_kernels(finalists), ground.compiled(finalists)).items():
            judging.take(name, heard)
        for turn in range(plan.processes):
            judging.final(turn, -(-plan.repeat // plan.processes), plan.baselines)
        finals = judging.finals()
    _log_account(bench)
    return finals


def _kernels(jobs: Mapping[str, CudaJob]) -> dict[str, Kernel]:
    return {name: job.kernel for name, job in jobs.items()}


def _log_account(bench: JudgeProcesses) -> None:
    log.info("seconds waited for: %s", {name: round(seconds, 2) for name, seconds in bench.account.items()})
