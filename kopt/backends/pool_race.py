"""Rank a pool by the race that judged its new kernels, where that race timed the pool's fastest kernels to the end.

A judge takes the fastest earlier kernels along in its race (`rivals_in_race`), and keeps what the race found of the
pool (`keep_race`).  The ranking looks for that first (`kept_race`): what was verified and timed side by side is not
verified and timed again.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from kopt.backends.backend import Rivals
from kopt.device.cuda.environment import environments
from kopt.jobs.accidents import is_accident, is_refused_time
from kopt.jobs.keys import FinalsKey, timed_contract
from kopt.jobs.target import ProblemOnTarget
from kopt.model.environment import Environment
from kopt.model.judged import Judged, JudgedRight
from kopt.model.kernel import candidate_name
from kopt.model.options import FinalsOptions, JudgeOptions
from kopt.model.timing import Finals, Measured
from kopt.model.trial import BuildRow, RankRow, SelectionRow, TimedKernel, behaviour
from kopt.search.order import dedup

if TYPE_CHECKING:
    from kopt.device.cuda.race import JudgedKernel


def rivals_in_race(rivals: Rivals, judged: Iterable[Judged]) -> list[SelectionRow]:
    """Return the earlier kernels that the race of a round's new kernels takes along, so that it can rank the pool.

    Args:
        rivals: the earlier kernels.
        judged: what is known of the new kernels; one that passed before is in no race now, so that none ranks the pool.
    """
    return [] if any(isinstance(one, JudgedRight) for one in judged) else _fastest(rivals)


def keep_race(
    rows: Sequence[BuildRow],
    judged: Mapping[int, Judged],
    raced: Mapping[str, JudgedKernel],
    rivals: Rivals,
    target: ProblemOnTarget,
    options: JudgeOptions,
) -> None:
    """Store what a race found of the pool, if all of the pool was in it, and its fastest kernels to the end.

    Args:
        rows: the new kernels.
        judged: their verdicts and times, by slot.
        raced: what the race found, by kernel.
        rivals: the earlier kernels.
        target: the problem, and the device that its kernels were built for.
        options: how they were judged and timed.
    """
    right = [row for row in rows if isinstance(judged[row.slot], JudgedRight)]
    pool: list[BuildRow | SelectionRow] = [*_fastest(rivals), *right]
    if not rivals.finalists or len(pool) < 2 or any(row.kernel not in raced for row in pool):
        return
    verdicts = {row.kernel: raced[row.kernel].verdict for row in pool}
    times = {row.kernel: timing for row in pool if (timing := raced[row.kernel].timing) is not None}
    ranked = dedup([_timed(row, times[row.kernel]) for row in pool if row.kernel in times])
    first = [times[row.kernel] for row in ranked[: rivals.finalists]]
    whole = all(_is_whole(timing, options.measuring.benchmark_repeat) for timing in first)
    if not whole or any(is_accident(verdict) or is_refused_time(verdict) for verdict in verdicts.values()):
        return
    finals = Finals(timings={row.kernel: times[row.kernel] for row in ranked}, verdicts=verdicts)
    where = next((timing.environment for timing in first), None)
    if where is not None:
        names = [*(row.kernel for row in rivals.parents), *(row.kernel for row in right)]
        target.store.shelf(Finals).put(_race_key(names, target, options, where), finals)


def kept_race(pool: Sequence[RankRow], target: ProblemOnTarget, options: JudgeOptions) -> Finals | None:
    """Look up what a race on one of the visible GPUs found of a whole pool; None where no race had all of it."""
    shelf, names = target.store.shelf(Finals), [row.kernel for row in pool]
    stored = (shelf.get(_race_key(names, target, options, where)) for where in environments())
    return next((finals for finals in stored if finals is not None), None)


def ranks(finals: Finals, ranked: Sequence[RankRow], options: FinalsOptions) -> bool:
    """Return whether a race has timed to its end each of the kernels that are the fastest by it.

    The race may be that of another run, which had other parents in it, and fewer kernels to its end.

    Args:
        finals: what the race found.
        ranked: the pool with the race's times.
        options: how kernels are timed, and how many of the fastest are ranked.
    """
    times = {behaviour(row): finals.timings[row.kernel] for row in ranked if row.kernel in finals.timings}
    repeat = options.judging.measuring.benchmark_repeat
    first = [times.get(behaviour(row)) for row in dedup(ranked)[: options.finalists]]
    return all(timing is not None and _is_whole(timing, repeat) for timing in first)


def finals_key(
    kernels: Mapping[str, str],
    baselines: Sequence[str],
    target: ProblemOnTarget,
    options: JudgeOptions,
    where: Environment,
    *,
    seed: int,
    processes: int,
) -> FinalsKey:
    """Return the key of kernels and baselines that are verified and timed side by side.

    Args:
        kernels: digests of their sources by name.
        baselines: names of baselines.
        target: the problem.
        options: how they are judged and timed.
        where: the GPU, and the versions.
        seed: seed of the inputs that they are verified on.
        processes: timer processes, one after the other.
    """
    measure = options.measuring
    return FinalsKey(
        kernels=tuple(sorted(kernels.items())), baselines=tuple(baselines), problem=timed_contract(target.problem),
        environment=where, seed=seed, warmup=measure.benchmark_warmup, repeat=measure.benchmark_repeat,
        processes=processes,
    )  # fmt: skip


def _race_key(pool: Iterable[str], target: ProblemOnTarget, options: JudgeOptions, where: Environment) -> FinalsKey:
    """Return the key of the race of a pool, whose inputs follow from the run's own seed."""
    return finals_key({name: name for name in pool}, (), target, options, where, seed=options.seed, processes=1)


def _fastest(rivals: Rivals) -> list[SelectionRow]:
    return dedup(rivals.parents)[: rivals.finalists]


def _timed(row: BuildRow | SelectionRow, timing: Measured) -> TimedKernel:
    origin = row.origin if isinstance(row, SelectionRow) else candidate_name(row.round, row.attempt, row.slot)
    return TimedKernel(
        kernel=row.kernel, fingerprint=row.fingerprint, origin=origin, model="", time_ms=timing.objective_ms,
        estimated=False, roofline_share=timing.roofline_share,
    )  # fmt: skip


def _is_whole(timing: Measured, repeat: int) -> bool:
    """Return whether a kernel was timed to the end of its race."""
    return all(len(workload.samples_ms) == repeat for workload in timing.workloads)
