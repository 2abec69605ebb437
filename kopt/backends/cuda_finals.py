"""Measure kernels and baselines anew, side by side in fresh processes: baselines, finalists of a round, the outcome."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from kopt import artifact
from kopt.artifact import text_digest
from kopt.backends.pool_race import finals_key, kept_race, ranks
from kopt.device.cuda.environment import environment, environments
from kopt.device.hardware.measured import MeasuredDevice
from kopt.errors import DeviceError, NothingPasses
from kopt.jobs.accidents import is_accident, is_refused_time
from kopt.jobs.builds import known_build, known_further
from kopt.jobs.kernels import kernel_named
from kopt.jobs.keys import FinalsKey
from kopt.jobs.on_gpu import check_same, leased
from kopt.jobs.target import ProblemOnTarget
from kopt.model.environment import Environment
from kopt.model.kernel import Kernel
from kopt.model.options import FinalsOptions, JudgeOptions
from kopt.model.outcome import BEST, SEED, Outcome
from kopt.model.timing import Finals, Measured
from kopt.model.trial import RankRow, SelectionRow, behaviour
from kopt.model.verdict import Passed
from kopt.search.order import by_time, dedup

log = logging.getLogger(__name__)

BASELINE_PATIENCE_S = 60.0
"""Time for which the jobs of a round get the GPU before the baselines, for which nothing but a run's end waits, s."""
OUTCOME_PROCESSES = 4
"""Timer processes of the outcome, one after the other."""


def measure_anew(
    kernels: Mapping[str, Kernel],
    baselines: Sequence[str],
    target: ProblemOnTarget,
    options: JudgeOptions,
    *,
    purpose: str,
    processes: int = 1,
    patience_s: float = 0.0,
) -> Finals:
    """Verify and time kernels and baselines, side by side, or read the measurement from the store.

    Args:
        kernels: by name.
        baselines: names of baselines.
        target: the problem, and the device that the kernels were built for.
        options: how to judge and to time.
        purpose: text from which, with the run's seed, the seed of the inputs follows, so that they differ from the
            inputs of the search.
        processes: timer processes, one after the other.
        patience_s: time for which jobs that ask for the GPU later get it first, s.

    Raises:
        DeviceError: there is no GPU, or it broke.
    """
    store = target.store
    seed = int(artifact.digest([options.seed, purpose])[:12], 16)

    def key(where: Environment) -> FinalsKey:
        digests = {name: text_digest(kernel.source) for name, kernel in kernels.items()}
        return finals_key(digests, baselines, target, options, where, seed=seed, processes=processes)

    shelf = store.shelf(Finals)
    stored = (shelf.get(key(where)) for where in environments())
    finals = next((finals for finals in stored if finals is not None), None)
    if finals is not None:
        return finals
    measured_on = _prepared(kernels, baselines, target, options, seed=seed, processes=processes)
    finals = None
    while finals is None:  # the GPU is given back after each baseline: max-autotune tunes for long
        with leased(store, wait_s=options.measuring.gpu_wait_seconds, patience_s=patience_s) as device:
            check_same(device, target.device)
            finals = measured_on(device)
    if any(is_accident(verdict) or is_refused_time(verdict) for verdict in finals.verdicts.values()):
        return finals  # not stored: the machine may be at fault, so a later run measures again
    return shelf.put(key(environment(device.device.name, device.uuid, device.driver)), finals)


def _prepared(
    kernels: Mapping[str, Kernel],
    baselines: Sequence[str],
    target: ProblemOnTarget,
    options: JudgeOptions,
    *,
    seed: int,
    processes: int,
) -> Callable[[MeasuredDevice], Finals | None]:
    """Import judge and compiler and read builds, before a GPU is held; return what verifies and times kernels there.

    What is returned compiles a baseline that the store lacks and returns None, until it lacks none.
    """
    from kopt.device.cuda.finals import CompiledAhead, FinalsPlan
    from kopt.device.cuda.judge import LIMITS, CudaJob, ProblemOnDevice, measure_finalists
    from kopt.device.hardware.zygote import load_triton

    load_triton()
    measure = options.measuring
    plan = FinalsPlan(
        baselines=tuple(baselines), warmup=measure.benchmark_warmup, repeat=measure.benchmark_repeat,
        processes=processes,
    )  # fmt: skip
    plan.prepare()
    jobs = {
        name: CudaJob(
            kernel=kernel, problem=target.problem, seed=seed,
            build=known_build(kernel, target.problem, target.device, target.store),
            further=known_further(kernel, target.problem, target.device, target.store),
        )
        for name, kernel in kernels.items()
    }  # fmt: skip
    ahead = CompiledAhead(plan, target.store)

    def measured_on(device: MeasuredDevice) -> Finals | None:
        if ahead.compile_next(target.problem, device):
            return None
        return measure_finalists(
            jobs, ProblemOnDevice(target.facts, device, target.store), plan=plan, workers=measure.workers_per_gpu,
            limits=replace(LIMITS, wall_s=options.judge_seconds), failed=ahead.failed,
        )  # fmt: skip

    return measured_on


def measure_pool(
    pool: Sequence[RankRow], target: ProblemOnTarget, options: FinalsOptions, *, round: int
) -> list[RankRow]:
    """Verify and time the fastest kernels of the pool anew, side by side, and order the pool by time.

    A kernel that does not pass on the new inputs leaves the pool.  Nothing is measured when the race that judged the
    round's new kernels has timed all of the fastest side by side, or when none of the fastest is new in this round.

    Args:
        pool: in order of time.
        target: the problem, and the device that its kernels were built for.
        options: how to measure, and how many kernels at most.
        round: this round.
    """
    raced = kept_race(pool, target, options.judging)
    if raced is not None and ranks(raced, ranked := with_finals(pool, raced), options):
        timed = len(raced.timings)
        log.info("one race has judged and timed %d kernels of the pool side by side: none is measured anew", timed)
        return ranked
    first = dedup(pool)[: options.finalists]
    if len(first) < 2 or not any(row.origin.startswith(f"r{round}a") for row in first):
        return list(pool)
    kernels = {row.kernel: kernel_named(row.kernel, target.problem, target.store) for row in first}
    return with_finals(pool, measure_anew(kernels, (), target, options.judging, purpose=f"rank {round}"))


def with_finals(pool: Sequence[RankRow], finals: Finals) -> list[RankRow]:
    """Return the pool with new times, in order of time, without the kernels that failed on the new inputs.

    Args:
        pool: the pool.
        finals: timings and verdicts by kernel digest; kernels with the same fingerprint share a time.
    """
    wrong = {name: verdict for name, verdict in finals.verdicts.items() if not isinstance(verdict, Passed)}
    for name, verdict in wrong.items():
        log.warning("kernel %s leaves the pool, it fails on new inputs: %s", name[:12], verdict)
    stay = [row for row in pool if row.kernel not in wrong]
    anew = {behaviour(row): finals.timings[row.kernel] for row in stay if row.kernel in finals.timings}
    return numbered(by_time([_timed(row, anew.get(behaviour(row))) for row in stay]))


def measure_baselines(target: ProblemOnTarget, options: JudgeOptions, baselines: Sequence[str]) -> Finals:
    """Measure the seed kernel and the baselines."""
    return measure_anew(
        {SEED: target.problem.seed}, baselines, target, options, purpose="baseline", patience_s=BASELINE_PATIENCE_S
    )


def measure_outcome(
    selection: Sequence[SelectionRow], target: ProblemOnTarget, options: JudgeOptions, baselines: Sequence[str]
) -> Outcome:
    """Measure the best kernel beside the seed and the baselines.

    Args:
        selection: the selection of the last round; its fastest kernel that passes on the new inputs is the best.
        target: the problem, and the device that its kernels were built for.
        options: how to measure.
        baselines: names of baselines.

    Raises:
        NothingPasses: no kernel of the last round passes on the new inputs.
        DeviceError: the seed kernel does not.
    """
    for row in sorted(selection, key=lambda row: row.time_ms):
        kernels = {BEST: kernel_named(row.kernel, target.problem, target.store), SEED: target.problem.seed}
        finals = measure_anew(kernels, baselines, target, options, purpose="outcome", processes=OUTCOME_PROCESSES)
        if not isinstance(finals.verdicts[SEED], Passed):
            raise DeviceError(f"the seed kernel fails the last verification: {finals.verdicts[SEED]}")
        if isinstance(finals.verdicts[BEST], Passed):
            return Outcome(best=row, finals=finals)
        log.warning("%s fails the last verification, the next best is taken: %s", row.origin, finals.verdicts[BEST])
    raise NothingPasses("no kernel of the last round passes the last verification")


def numbered(pool: Sequence[RankRow]) -> list[RankRow]:
    """Return the rows with their positions in the pool."""
    return [row.model_copy(update={"position": place}) for place, row in enumerate(pool)]


def _timed(row: RankRow, timing: Measured | None) -> RankRow:
    if timing is None:
        return row
    low, high = timing.interval_ms
    fresh = {"time_ms": timing.objective_ms, "low_ms": low, "high_ms": high, "roofline_share": timing.roofline_share}
    return row.model_copy(update=fresh)
