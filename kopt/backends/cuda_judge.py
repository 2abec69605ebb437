"""Judge kernels on a GPU: verdicts by the CUDA judge, and measured times, both kept in the store."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from kopt.backends.backend import Judge, Rivals
from kopt.backends.pool_race import keep_race, rivals_in_race
from kopt.device.cuda.environment import environments, of_any_such_gpu
from kopt.device.hardware.measured import MeasuredDevice
from kopt.jobs.accidents import is_accident, is_refused_time
from kopt.jobs.builds import built_named, known_build, known_further, toolchain
from kopt.jobs.kernels import kernel_named
from kopt.jobs.keys import TimingKey, VerdictKey, cuda_contract, timing_key
from kopt.jobs.on_gpu import check_same, leased
from kopt.jobs.target import ProblemOnTarget
from kopt.model.build import Built, Phase
from kopt.model.environment import Environment
from kopt.model.judged import Judged, JudgedRight, JudgedWrong
from kopt.model.kernel import Kernel
from kopt.model.options import JudgeOptions
from kopt.model.timing import Measured
from kopt.model.trial import BuildRow, SelectionRow, behaviour
from kopt.model.verdict import Failed, Passed, Verdict
from kopt.provenance import code_digest

if TYPE_CHECKING:
    from kopt.device.cuda.race import JudgedKernel

log = logging.getLogger(__name__)


def judge_by_cuda(target: ProblemOnTarget, options: JudgeOptions, rivals: Rivals) -> Judge:
    """Make the judge on a GPU; a kernel whose verdict and time on a visible GPU are in the store is not judged again.

    Args:
        target: the problem, and the device that its kernels were built for.
        options: how to judge and to time.
        rivals: the earlier kernels that take part in the race.
    """
    records = Records(target, options, environments())

    def judge(rows: Sequence[BuildRow]) -> Mapping[int, Judged]:
        results = {row.slot: judged for row in rows if (judged := records.known(row)) is not None}
        missing = [row for row in rows if row.slot not in results]
        log.info("%d kernels: %d judged before, %d to judge", len(rows), len(results), len(missing))
        if not missing:
            return results
        beside = rivals_in_race(rivals, results.values())
        judge_on = _prepared(missing, beside, target, options, rivals)
        entrants: list[BuildRow | SelectionRow] = [*missing, *beside]
        fresh: list[tuple[BuildRow, JudgedKernel]] = []
        raced: dict[str, JudgedKernel] = {}
        try:
            with leased(target.store, wait_s=options.measuring.gpu_wait_seconds) as device:
                check_same(device, target.device)
                for position, kernel in judge_on(device):
                    raced[entrants[position].kernel] = kernel
                    if position < len(missing):
                        fresh.append((missing[position], kernel))
        finally:  # the GPU is held by nobody while files are written, and what was judged before an error is kept
            for row, kernel in fresh:
                results[row.slot] = records.keep(row, kernel)
                log.info("slot %d: %s, seconds %s", row.slot, results[row.slot].verdict.verdict, kernel.seconds)
        keep_race(rows, results, raced, rivals, target, options)
        return results

    return judge


class Records:
    """Look up and store verdicts and measured times."""

    def __init__(self, target: ProblemOnTarget, options: JudgeOptions, here: Sequence[Environment]) -> None:
        """Take in `here` the environments of the visible GPUs, for which stored times are valid."""
        self._target, self._options, self._here = target, options, here

    def known(self, row: BuildRow) -> Judged | None:
        """Look up a kernel's verdict, and its time on any of the visible GPUs; None when the kernel must be judged."""
        key = self._verdict_key(row)
        verdict: Verdict | None = self._target.store.shelf(Verdict).get(key)
        if verdict is None:
            return None
        if not isinstance(verdict, Passed):
            return JudgedWrong(verdict=verdict, evaluation=key.digest())
        timing = self.timing(row)
        return None if timing is None else JudgedRight(verdict=verdict, timing=timing, evaluation=key.digest())

    def timing(self, row: BuildRow | SelectionRow) -> Measured | None:
        """Look up the time that a kernel was judged with on one of the visible GPUs."""
        return self._first(row, self._here)

    def timing_on_any(self, row: BuildRow | SelectionRow) -> Measured | None:
        """Look up the time that a kernel was judged with on a visible GPU, else on another GPU of that name.

        A run may go on with another GPU than the one that it began with.
        """
        return self._first(row, (*self._here, *dict.fromkeys(map(of_any_such_gpu, self._here))))

    def _first(self, row: BuildRow | SelectionRow, environments: Sequence[Environment]) -> Measured | None:
        shelf = self._target.store.shelf(Measured)
        timings = (shelf.get(self._timing_key(row, environment)) for environment in environments)
        return next((timing for timing in timings if timing is not None), None)

    def keep(self, row: BuildRow, judged: JudgedKernel) -> Judged:
        """Store verdict and time, and return them.

        A failure for which the machine may be at fault is not stored, so that a later run judges the kernel again.
        The new verdict is returned even where the store holds another verdict of the same judge.
        """
        key, verdict, timing = self._verdict_key(row), judged.verdict, judged.timing
        if isinstance(verdict, Passed) and timing is None:
            verdict = Failed(judge=verdict.judge, phase=Phase.CRASH, reason="passed, but no time could be taken")
        if not is_accident(verdict) and not is_refused_time(verdict):
            self._target.store.shelf(Verdict).put(key, verdict)
        if timing is not None and timing.environment is not None:
            shelf, where = self._target.store.shelf(Measured), timing.environment
            timing = shelf.put(self._timing_key(row, where), timing)
            shelf.put(self._timing_key(row, of_any_such_gpu(where)), timing)
        if isinstance(verdict, Passed) and timing is not None:
            return JudgedRight(verdict=verdict, timing=timing, evaluation=key.digest())
        assert not isinstance(verdict, Passed)
        return JudgedWrong(verdict=verdict, evaluation=key.digest())

    def _verdict_key(self, row: BuildRow) -> VerdictKey:
        problem = self._target.problem
        return VerdictKey(
            kernel=row.kernel, entry=problem.seed.entry, problem=cuda_contract(problem), judge="cuda",
            seed=self._options.seed, toolchain=toolchain(self._target.device),
            code=code_digest("kopt.device.cuda.judge"),
        )  # fmt: skip

    def _timing_key(self, row: BuildRow | SelectionRow, environment: Environment) -> TimingKey:
        measure = self._options.measuring
        return timing_key(
            behaviour(row), self._target.problem, environment, warmup=measure.benchmark_warmup,
            repeat=measure.benchmark_repeat,
        )  # fmt: skip


def _prepared(
    rows: Sequence[BuildRow],
    beside: Sequence[SelectionRow],
    target: ProblemOnTarget,
    options: JudgeOptions,
    rivals: Rivals,
) -> Callable[[MeasuredDevice], Iterator[tuple[int, JudgedKernel]]]:
    """Import the judge, with torch and Triton, and read the kernels, before a GPU is held; return what judges them."""
    from kopt.device.cuda.judge import LIMITS, CudaJob, ProblemOnDevice, judge_all
    from kopt.device.cuda.race import Race
    from kopt.device.hardware.zygote import load_triton

    load_triton()
    problem, store, measure = target.problem, target.store, options.measuring

    def job(kernel: Kernel, build: Built | None) -> CudaJob:
        further = known_further(kernel, problem, target.device, store)
        return CudaJob(kernel=kernel, problem=problem, seed=options.seed, build=build, further=further)

    def earlier(name: str) -> CudaJob:
        kernel = kernel_named(name, problem, store)
        return job(kernel, known_build(kernel, problem, target.device, store))

    jobs = [job(kernel_named(row.kernel, problem, store), built_named(row.build, store)) for row in rows]
    jobs += [earlier(row.kernel) for row in beside]
    best = earlier(rivals.incumbent) if rivals.incumbent else None
    race = Race(repeat=measure.benchmark_repeat, warmup=measure.benchmark_warmup)
    return lambda device: judge_all(
        jobs, ProblemOnDevice(target.facts, device, store), workers=measure.workers_per_gpu,
        limits=replace(LIMITS, wall_s=options.judge_seconds), incumbent=best,
        race=race.model_copy(update={"keep": max(race.keep, rivals.finalists)}),
        calibrated=best is not None,  # the seed was judged on this problem before
    )  # fmt: skip
