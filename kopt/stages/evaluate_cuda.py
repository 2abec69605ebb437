"""Stage evaluate on a GPU: verdicts by the CUDA judge, and measured times."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from kopt.model.base import Value
from kopt.model.build import Phase
from kopt.model.device import Device
from kopt.model.environment import Environment
from kopt.model.kernel import Kernel
from kopt.model.problem import Problem, ProblemFacts
from kopt.model.timing import Measured
from kopt.model.trial import BuildRow, SelectionRow
from kopt.model.verdict import Failed, Passed, Verdict
from kopt.stages.compile import toolchain
from kopt.stages.evaluate import Judge, Judged, built_named, is_accident
from kopt.stages.keys import KERNEL, TimingKey, VerdictKey, build_contract, cuda_contract
from kopt.stages.on_gpu import check_same, leased
from kopt.store import Store

if TYPE_CHECKING:
    from kopt.device.judge_cuda import CudaJob, CudaJudged
    from kopt.device.peaks import Found

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

    def judge(rows: Sequence[BuildRow]) -> Mapping[int, Judged]:
        with leased(store, wait_s=plan.wait_s) as found:
            check_same(found, device)
            return Chunk(problem, facts, store, plan, found, incumbent).judge(rows)

    return judge


class Chunk:
    """One chunk on one GPU."""

    def __init__(
        self, problem: Problem, facts: ProblemFacts, store: Store, plan: Plan, found: Found, incumbent: str
    ) -> None:
        from kopt.device.judge_cuda import environment

        self._problem, self._facts, self._store, self._plan = problem, facts, store, plan
        self._found, self._incumbent = found, incumbent
        self._environment: Environment = environment(found)

    def judge(self, rows: Sequence[BuildRow]) -> dict[int, Judged]:
        """Verdicts and times by slot: known ones from the store, the others from the device."""
        known = {row.slot: judged for row in rows if (judged := self._known(row)) is not None}
        missing = [row for row in rows if row.slot not in known]
        log.info("%d kernels: %d known on this device, %d to judge", len(rows), len(known), len(missing))
        if missing:
            for at, found in self._run(missing):
                known[missing[at].slot] = self._kept(missing[at], found.verdict, found.timing)
                log.info("slot %d: %s, seconds %s", missing[at].slot, found.verdict.verdict, found.seconds)
        return known

    def _known(self, row: BuildRow) -> Judged | None:
        key = self._verdict_key(row)
        verdict = self._store.shelf(Verdict).get(key)
        if verdict is None or not isinstance(verdict, Passed):
            return None if verdict is None else Judged(verdict, None, key.digest())
        timing = self._store.shelf(Measured).get(self._timing_key(row))
        return None if timing is None else Judged(verdict, timing, key.digest())

    def _kept(self, row: BuildRow, verdict: Verdict, timing: Measured | None) -> Judged:
        """The same, on disk.  A failure that the machine may be to blame for is found again, not believed."""
        key = self._verdict_key(row)
        if not is_accident(verdict) and not _is_floored(verdict):
            verdict = self._store.shelf(Verdict).put(key, verdict)
        if timing is not None:
            timing = self._store.shelf(Measured).put(self._timing_key(row), timing)
        return Judged(verdict, timing, key.digest())

    def _run(self, rows: Sequence[BuildRow]) -> Iterator[tuple[int, CudaJudged]]:
        from kopt.device.judge_cuda import LIMITS, Race, judge_all

        plan = self._plan
        return judge_all(
            [self._job(row) for row in rows],
            facts=self._facts, found=self._found, workers=plan.workers, limits=replace(LIMITS, wall_s=plan.seconds),
            incumbent=kernel_named(self._incumbent, self._problem, self._store) if self._incumbent else None,
            race=Race(repeat=plan.repeat, warmup=plan.warmup),
            calibrated=bool(self._incumbent),  # the seed was judged on this problem before
        )  # fmt: skip

    def _job(self, row: BuildRow) -> CudaJob:
        from kopt.device.judge_cuda import CudaJob

        return CudaJob(
            kernel=kernel_named(row.kernel, self._problem, self._store), problem=self._problem, seed=self._plan.seed,
            build=built_named(row.build, self._store),
        )  # fmt: skip

    def _verdict_key(self, row: BuildRow) -> VerdictKey:
        return VerdictKey(
            kernel=row.kernel, entry=self._problem.seed.entry, problem=cuda_contract(self._problem), judge="cuda",
            seed=self._plan.seed, toolchain=toolchain(self._found.device),
        )  # fmt: skip

    def _timing_key(self, row: BuildRow) -> TimingKey:
        return timing_key(row, self._problem, self._environment, self._plan)


def timing_key(row: BuildRow | SelectionRow, problem: Problem, environment: Environment, plan: Plan) -> TimingKey:
    """The key of the time that a kernel is judged with."""
    return TimingKey(
        compiled=row.fingerprint or row.kernel, problem=build_contract(problem), environment=environment,
        warmup=plan.warmup, repeat=plan.repeat,
    )  # fmt: skip


def kernel_named(digest: str, problem: Problem, store: Store) -> Kernel:
    """The kernel with this digest.

    Raises:
        StoreError: it is not in the store (any more).
    """
    return Kernel(source=store.text(KERNEL, digest, ".py"), entry=problem.seed.entry)


def _is_floored(verdict: Verdict) -> bool:
    """Whether a time under the roofline floor was refused: that belongs to the device, not to the source."""
    return isinstance(verdict, Failed) and verdict.phase == Phase.ROOFLINE
