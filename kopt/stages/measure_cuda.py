"""Fresh measurements, side by side in new processes: baselines, finalists of a round, and what a run came to."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from kopt.artifact import text_digest
from kopt.device.cuda.environment import environment, environments
from kopt.errors import DeviceError
from kopt.jobs.keys import FinalsKey, cuda_contract
from kopt.jobs.on_gpu import check_same, leased
from kopt.model.base import Value
from kopt.model.device import Device
from kopt.model.environment import Environment
from kopt.model.kernel import Kernel
from kopt.model.outcome import BEST, SEED, Outcome
from kopt.model.problem import Problem, ProblemFacts
from kopt.model.timing import Finals, Measured
from kopt.model.trial import RankRow, SelectionRow
from kopt.model.verdict import Passed
from kopt.search.order import by_time, dedup
from kopt.stages.compile import known_build
from kopt.stages.evaluate import is_accident, is_refused_time
from kopt.stages.evaluate_cuda import kernel_named
from kopt.store import Store

log = logging.getLogger(__name__)


class FinalsOptions(Value):
    """How a fresh measurement is made."""

    seed: int
    """Inputs that it verifies on follow from this: another one than the search's."""
    warmup: int
    repeat: int
    workers: int
    """Kernels verified at a time."""
    seconds: float
    """Wall-clock limit of verifying one kernel, s."""
    wait_s: float
    """Longest wait for a GPU, s."""
    processes: int = 1
    """Timer processes, one after the other."""


@dataclass(frozen=True)
class MeasureContext:
    """What is measured, and where it is kept."""

    problem: Problem
    facts: ProblemFacts
    device: Device
    """What the kernels were built for."""
    store: Store

    def measure(self, kernels: Mapping[str, Kernel], baselines: Sequence[str], course: FinalsOptions) -> Finals:
        """Kernels by name and baselines, verified and timed side by side; what is known on this device is read.

        Raises:
            DeviceError: there is no GPU, or it broke.
        """
        shelf = self.store.shelf(Finals)
        known = (shelf.get(self._key(kernels, baselines, course, one)) for one in environments())
        finals = next((one for one in known if one is not None), None)
        if finals is not None:
            return finals
        with leased(self.store, wait_s=course.wait_s) as found:
            from kopt.device.cuda.finals import FinalsPlan
            from kopt.device.cuda.judge import LIMITS, CudaJob, ProblemOnDevice, measure_finalists

            check_same(found, self.device)
            plan = FinalsPlan(
                baselines=tuple(baselines), warmup=course.warmup, repeat=course.repeat, processes=course.processes
            )
            jobs = {
                name: CudaJob(
                    kernel=kernel, problem=self.problem, seed=course.seed,
                    build=known_build(kernel, self.problem, self.device, self.store),
                )
                for name, kernel in kernels.items()
            }  # fmt: skip
            limits = replace(LIMITS, wall_s=course.seconds)
            ground = ProblemOnDevice(self.facts, found, self.store)
            finals = measure_finalists(jobs, ground, plan=plan, workers=course.workers, limits=limits)
        if any(is_accident(one) or is_refused_time(one) for one in finals.verdicts.values()):
            return finals  # the machine may be to blame: measured again, not believed
        here = environment(found.device.name, found.uuid, found.driver)
        return shelf.put(self._key(kernels, baselines, course, here), finals)

    def _key(
        self, kernels: Mapping[str, Kernel], baselines: Sequence[str], course: FinalsOptions, where: Environment
    ) -> FinalsKey:
        return FinalsKey(
            kernels=tuple((name, text_digest(kernel.source)) for name, kernel in sorted(kernels.items())),
            baselines=tuple(baselines), problem=cuda_contract(self.problem), environment=where,
            **course.model_dump(include={"seed", "warmup", "repeat", "processes"}),
        )  # fmt: skip


def measure_pool(
    pool: Sequence[RankRow], scene: MeasureContext, course: FinalsOptions, *, finalists: int, round: int
) -> list[RankRow]:
    """The pool with its fastest kernels verified and timed anew, side by side, in order of time.

    A kernel that does not pass on the new inputs leaves the pool.  Nothing is measured when this round brought none
    of the fastest.

    Args:
        pool: in order of time.
        scene: where to measure.
        course: how to measure.
        finalists: how many, at most.
        round: this round.
    """
    first = dedup(pool)[:finalists]
    if len(first) < 2 or not any(row.origin.startswith(f"r{round}a") for row in first):
        return list(pool)
    kernels = {row.kernel: kernel_named(row.kernel, scene.problem, scene.store) for row in first}
    return with_finals(pool, scene.measure(kernels, (), course))


def with_finals(pool: Sequence[RankRow], finals: Finals) -> list[RankRow]:
    """The pool with new times in order of time, without what did not pass again.

    Args:
        pool: the pool.
        finals: timings and verdicts by kernel digest; kernels of one fingerprint share a time.
    """
    wrong = {name: verdict for name, verdict in finals.verdicts.items() if not isinstance(verdict, Passed)}
    for name, verdict in wrong.items():
        log.warning("kernel %s leaves the pool, it fails on new inputs: %s", name[:12], verdict)
    stay = [row for row in pool if row.kernel not in wrong]
    anew = {_identity(row): finals.timings[row.kernel] for row in stay if row.kernel in finals.timings}
    return numbered(by_time([_timed(row, anew.get(_identity(row))) for row in stay]))


def measure_baselines(scene: MeasureContext, course: FinalsOptions, baselines: Sequence[str]) -> Finals:
    """The seed kernel and the baselines."""
    return scene.measure({SEED: scene.problem.seed}, baselines, course)


def measure_outcome(
    selection: Sequence[SelectionRow], scene: MeasureContext, course: FinalsOptions, baselines: Sequence[str]
) -> Outcome:
    """The best kernel against the seed and the baselines.

    Args:
        selection: the last round's; its fastest kernel is the best, unless it fails on the new inputs.
        scene: where to measure.
        course: how to measure.
        baselines: beside what.

    Raises:
        DeviceError: no kernel passes any more, not even the seed.
    """
    for row in sorted(selection, key=lambda row: row.time_ms):
        kernels = {BEST: kernel_named(row.kernel, scene.problem, scene.store), SEED: scene.problem.seed}
        finals = scene.measure(kernels, baselines, course)
        if not isinstance(finals.verdicts[SEED], Passed):
            raise DeviceError(f"the seed kernel does not pass any more: {finals.verdicts[SEED]}")
        if isinstance(finals.verdicts[BEST], Passed):
            return Outcome(best=row, finals=finals)
        log.warning("%s fails the last verification, the next best is taken: %s", row.origin, finals.verdicts[BEST])
    raise DeviceError("no kernel of the last round passes the last verification")


def table_lines(finals: Finals) -> list[str]:
    """The measurement as a table: time, interval and roofline share by name and workload."""
    names = sorted(finals.timings, key=lambda name: finals.timings[name].objective_ms)
    return [
        f"{name:<14} {one.workload:<10} {one.median_ms:9.4f} ms [{one.low_ms:.4f}, {one.high_ms:.4f}]"
        f" {one.floor_ms / one.median_ms:6.1%} of the roofline"
        for name in names
        for one in finals.timings[name].workloads
    ]


def numbered(pool: Sequence[RankRow]) -> list[RankRow]:
    """The same rows with their positions."""
    return [row.model_copy(update={"position": place}) for place, row in enumerate(pool)]


def _identity(row: RankRow) -> str:
    return row.fingerprint or row.kernel


def _timed(row: RankRow, timing: Measured | None) -> RankRow:
    if timing is None:
        return row
    low, high = timing.interval_ms
    fresh = {"time_ms": timing.objective_ms, "low_ms": low, "high_ms": high, "roofline_share": timing.roofline_share}
    return row.model_copy(update=fresh)
