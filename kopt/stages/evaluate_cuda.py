"""Stage evaluate on a GPU: verdicts by the CUDA judge, and measured times."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from kopt.device.cuda.environment import environments
from kopt.device.hardware.measured import MeasuredDevice
from kopt.jobs.keys import KERNEL, TimingKey, VerdictKey, build_contract, cuda_contract
from kopt.jobs.on_gpu import check_same, leased
from kopt.model.base import Value
from kopt.model.device import Device
from kopt.model.environment import Environment
from kopt.model.kernel import Kernel
from kopt.model.problem import Problem, ProblemFacts
from kopt.model.timing import Measured
from kopt.model.trial import BuildRow, SelectionRow
from kopt.model.verdict import Passed, Verdict
from kopt.stages.compile import known_build, toolchain
from kopt.stages.evaluate import Judge, Judged, built_named, is_accident, is_refused_time
from kopt.store import Store

if TYPE_CHECKING:
    from kopt.device.cuda.race import JudgedKernel

log = logging.getLogger(__name__)


class Plan(Value):
    """How a chunk is judged on a GPU."""

    seed: int
    """The run's seed; verification inputs follow from it and from the chunk's kernels."""
    workers: int
    """Contestants at a time."""
    seconds: float
    """Wall-clock limit of one contestant, s."""
    wait_s: float
    """Longest wait for a GPU, s."""
    warmup: int
    """Untimed launches of those that stay to the end of the race."""
    repeat: int
    """Timed launches of those that stay to the end of the race."""


def judge_by_cuda(
    problem: Problem, facts: ProblemFacts, device: Device, store: Store, *, plan: Plan, incumbent: str = ""
) -> Judge:
    """The judge on a GPU; a kernel whose verdict and time on this very device are known is not judged again.

    Args:
        problem: what to solve.
        facts: its facts.
        device: what the kernels were built for.
        store: of verdicts and times.
        plan: how to judge.
        incumbent: digest of the kernel to beat, raced along; none by default.
    """

    records = Records(problem, device, store, plan, environments())

    def judge(rows: Sequence[BuildRow]) -> Mapping[int, Judged]:
        known = {row.slot: judged for row in rows if (judged := records.known(row)) is not None}
        missing = [row for row in rows if row.slot not in known]
        log.info("%d kernels: %d known on these devices, %d to judge", len(rows), len(known), len(missing))
        if not missing:
            return known
        with leased(store, wait_s=plan.wait_s) as found:
            check_same(found, device)
            for at, one in _judge(missing, problem, facts, store, plan, found, incumbent):
                known[missing[at].slot] = records.keep(missing[at], one)
                log.info("slot %d: %s, seconds %s", missing[at].slot, one.verdict.verdict, one.seconds)
        return known

    return judge


class Records:
    """Verdicts and measured times in the store."""

    def __init__(self, problem: Problem, device: Device, store: Store, plan: Plan, here: Sequence[Environment]) -> None:
        """`here` is what times on the GPUs at hand are valid for."""
        self._problem, self._device, self._store, self._plan, self._here = problem, device, store, plan, here

    def known(self, row: BuildRow) -> Judged | None:
        """What is known of a kernel on any of the GPUs at hand; None when it must be judged."""
        key = self._verdict_key(row)
        verdict = self._store.shelf(Verdict).get(key)
        if verdict is None or not isinstance(verdict, Passed):
            return None if verdict is None else Judged(verdict, None, key.digest())
        timing = self.timing(row)
        return None if timing is None else Judged(verdict, timing, key.digest())

    def timing(self, row: BuildRow | SelectionRow) -> Measured | None:
        """The time that a kernel was judged with on one of the GPUs at hand."""
        shelf = self._store.shelf(Measured)
        found = (shelf.get(self._timing_key(row, environment)) for environment in self._here)
        return next((timing for timing in found if timing is not None), None)

    def keep(self, row: BuildRow, judged: JudgedKernel) -> Judged:
        """Put it on disk.  A failure that the machine may be to blame for is found again, not believed."""
        key, verdict, timing = self._verdict_key(row), judged.verdict, judged.timing
        if not is_accident(verdict) and not is_refused_time(verdict):
            verdict = self._store.shelf(Verdict).put(key, verdict)
        if timing is not None and timing.environment is not None:
            timing = self._store.shelf(Measured).put(self._timing_key(row, timing.environment), timing)
        return Judged(verdict, timing, key.digest())

    def _verdict_key(self, row: BuildRow) -> VerdictKey:
        return VerdictKey(
            kernel=row.kernel, entry=self._problem.seed.entry, problem=cuda_contract(self._problem), judge="cuda",
            seed=self._plan.seed, toolchain=toolchain(self._device),
        )  # fmt: skip

    def _timing_key(self, row: BuildRow | SelectionRow, environment: Environment) -> TimingKey:
        return TimingKey(
            compiled=row.fingerprint or row.kernel, problem=build_contract(self._problem), environment=environment,
            warmup=self._plan.warmup, repeat=self._plan.repeat,
        )  # fmt: skip


def _judge(
    rows: Sequence[BuildRow], problem: Problem, facts: ProblemFacts, store: Store, plan: Plan, found: MeasuredDevice,
    incumbent: str,
) -> Iterator[tuple[int, JudgedKernel]]:  # fmt: skip
    from kopt.device.cuda.judge import LIMITS, CudaJob, ProblemOnDevice, judge_all
    from kopt.device.cuda.race import Race

    jobs = [
        CudaJob(
            kernel=kernel_named(row.kernel, problem, store), problem=problem, seed=plan.seed,
            build=built_named(row.build, store),
        )
        for row in rows
    ]  # fmt: skip
    best = None
    if incumbent:
        kernel = kernel_named(incumbent, problem, store)
        known = known_build(kernel, problem, found.device, store)
        best = CudaJob(kernel=kernel, problem=problem, seed=plan.seed, build=known)
    return judge_all(
        jobs, ProblemOnDevice(facts, found, store), workers=plan.workers, limits=replace(LIMITS, wall_s=plan.seconds),
        incumbent=best, race=Race(repeat=plan.repeat, warmup=plan.warmup),
        calibrated=best is not None,  # the seed was judged on this problem before
    )  # fmt: skip


def kernel_named(digest: str, problem: Problem, store: Store) -> Kernel:
    """The kernel with this digest.

    Raises:
        StoreError: it is not in the store (any more).
    """
    return Kernel(source=store.text(KERNEL, digest, ".py"), entry=problem.seed.entry)
