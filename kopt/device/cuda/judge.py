"""Judge a chunk of candidates on one GPU: verdicts by the referee, times by the timer.

The caller's process becomes the zygote (`kopt.device.hardware.zygote`): it must not have used CUDA, and must see one
device.

    zygote ─┬─ referee        inputs, expected outputs, comparison; no candidate code
            ├─ contestants    one caged child per candidate: its Python code, on every draw
            └─ timer          replays recorded calls on fresh inputs, and times them; no candidate code

A candidate passes when its own process gave right outputs on every draw, and the replay of its recorded calls, which is
what is timed, gives right outputs too: on NaN-filled memory, on inputs that stay unchanged, not without its launches,
and in a random timed call.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from kopt.device.build.precompiled import Compiled, compiled
from kopt.device.cuda.environment import environment
from kopt.device.cuda.finals import FinalMeasurement, FinalsPlan
from kopt.device.cuda.judge_processes import JudgeProcesses
from kopt.device.cuda.race import ChunkRace, JudgedKernel, Race
from kopt.device.cuda.results.chunk_results import ChunkResults
from kopt.device.cuda.results.times import INCUMBENT, Times
from kopt.device.cuda.results.verdicts import VerificationOutcome
from kopt.device.cuda.verification.verifier import Verifier
from kopt.device.hardware.measured import MeasuredDevice
from kopt.device.hardware.nvml import Clocks
from kopt.model.base import Value
from kopt.model.build import Built, FurtherKernels
from kopt.model.kernel import Kernel
from kopt.model.problem import Problem, ProblemFacts
from kopt.model.timing import Finals
from kopt.sandbox.cage import Limits
from kopt.store import Store

log = logging.getLogger(__name__)

LIMITS = Limits(wall_s=90.0)
"""Default limits of one contestant."""


class CudaJob(Value):
    """One kernel to judge."""

    kernel: Kernel
    problem: Problem
    seed: int
    """The run's seed; inputs follow from it and from all kernels of the chunk."""
    build: Built | None = None
    """Build of the CPU stage for this device and these versions; with a build, nothing else may be launched."""
    further: FurtherKernels = FurtherKernels()
    """Kernels that the CPU stage compiled for the hidden and the last small workload, so that Triton need not."""


@dataclass(frozen=True)
class ProblemOnDevice:
    """Facts of problem and device that are known before a kernel is judged."""

    facts: ProblemFacts
    """The problem's facts, for its floor."""
    gpu: MeasuredDevice
    store: Store | None = None
    """Store of the texts that builds name; without a store everything is compiled again."""

    def compiled(self, jobs: Mapping[str, CudaJob]) -> dict[str, Compiled]:
        """Read the compiled kernels of those jobs that name a build."""
        return {
            name: compiled(job.build, self.store, job.further.kernels)
            for name, job in jobs.items()
            if job.build is not None
        }

    def rebuilt(
        self, problem: Problem, kernel: Kernel, addresses: Mapping[str, tuple[int, ...]], seconds: float
    ) -> frozenset[str]:
        """Compile a kernel for addresses of its arguments by workload; return the digests of its cubins."""
        from kopt.device.build.build import BuildJob  # here, because most chunks need nothing of the compiler
        from kopt.device.build.rebuild import rebuilt_cubins

        job = BuildJob(kernel=kernel, problem=problem, device=self.gpu.device, addresses=dict(addresses))
        return rebuilt_cubins(job, seconds)

    def results(self) -> ChunkResults:
        """Make empty results of a chunk."""
        here = environment(self.gpu.device.name, self.gpu.uuid, self.gpu.driver)
        return ChunkResults(Times(self.facts, self.gpu, here))


def judge_all(
    jobs: Sequence[CudaJob],
    context: ProblemOnDevice,
    *,
    workers: int,
    limits: Limits = LIMITS,
    incumbent: CudaJob | None = None,
    race: Race = Race(),  # noqa: B008 - frozen
    calibrated: bool = False,
) -> Iterator[tuple[int, JudgedKernel]]:
    """Judge a chunk of one problem on the first visible device; yield (index, judged).

    Kernels that fail verification come when all have been verified, the others when all have raced.

    Args:
        jobs: kernels to judge; all of one problem and seed.
        context: the problem's facts, the device, the store.
        workers: contestants at a time; timing always has the device alone.
        limits: limits of one contestant.
        incumbent: a kernel that is timed along; ratios are to it.
        race: how long to time.
        calibrated: the problem's checks have been proven before (`kopt.device.expected.calibration`).

    Raises:
        DeviceError: there is no usable device, or it broke.
        ProblemError: the problem cannot be judged.
    """
    if not jobs:
        return
    with JudgeProcesses(jobs[0].problem, calibrated=calibrated) as processes:
        yield from judge_on(processes, jobs, context, workers=workers, limits=limits, incumbent=incumbent, race=race)
    _log_account(processes)


def judge_on(
    processes: JudgeProcesses,
    jobs: Sequence[CudaJob],
    context: ProblemOnDevice,
    *,
    workers: int,
    limits: Limits = LIMITS,
    incumbent: CudaJob | None = None,
    race: Race = Race(),  # noqa: B008 - frozen
) -> Iterator[tuple[int, JudgedKernel]]:
    """Judge a chunk like `judge_all`, on processes that are running."""
    named = {str(at): job for at, job in enumerate(jobs)}
    if incumbent is not None:
        named[INCUMBENT] = incumbent
    chunk = ChunkRace(processes, context.results(), race, Clocks(context.gpu.uuid).read)
    for name, judged in chunk.judge(_verified(processes, named, context, workers, limits)):
        yield int(name), judged


def measure_finalists(
    finalists: Mapping[str, CudaJob],
    context: ProblemOnDevice,
    *,
    plan: FinalsPlan = FinalsPlan(),  # noqa: B008 - frozen
    workers: int = 2,
    limits: Limits = LIMITS,
    failed: Iterable[str] = (),
) -> Finals:
    """Verify finalists anew and time them with baselines, interleaved, in fresh processes.

    Args:
        finalists: by name; at least one; all of one problem and seed, another seed than the search's.
        context: the problem's facts, the device, the store.
        plan: how long to time, and beside which baselines.
        workers: contestants at a time; timing always has the device alone.
        limits: limits of one contestant.
        failed: names of compilations that failed ahead of the measurement (`CompiledAhead`).

    Raises:
        DeviceError, ProblemError: as for `judge_all`.
    """
    problem = next(iter(finalists.values())).problem
    with JudgeProcesses(problem, calibrated=True) as processes:
        measurement = FinalMeasurement(
            processes, context.results(), plan, Clocks(context.gpu.uuid).read, context.store, set(failed)
        )
        finals = measurement.measure(_verified(processes, finalists, context, workers, limits))
    _log_account(processes)
    return finals


def _verified(
    processes: JudgeProcesses, jobs: Mapping[str, CudaJob], context: ProblemOnDevice, workers: int, limits: Limits
) -> dict[str, VerificationOutcome]:
    seed = next(iter(jobs.values())).seed
    verifier = Verifier(
        processes, seed=seed, workers=workers, limits=limits, compiled=context.compiled(jobs),
        rebuild=lambda kernel, addresses: context.rebuilt(processes.problem, kernel, addresses, limits.wall_s),
    )  # fmt: skip
    return verifier.verify({name: job.kernel for name, job in jobs.items()})


def _log_account(processes: JudgeProcesses) -> None:
    log.info("seconds waited for: %s", {name: round(seconds, 2) for name, seconds in processes.account.items()})
