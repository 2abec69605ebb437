"""Stage `select`: choose the parents of the next round, summarise the round, and decide whether the search goes on."""

from __future__ import annotations

from collections.abc import Sequence

from kopt.errors import ProblemError
from kopt.model.base import Value
from kopt.model.kernel import Candidate, ProposalStatus, candidate_name
from kopt.model.trial import RankRow, RoundSummary, SelectionRow, StopReason
from kopt.run.tables import RoundTables
from kopt.search.order import dedup
from kopt.search.select import select
from kopt.search.stopping import NOISE, improved, stop_reason
from kopt.search.strategy import A, Asked, Strategy

SEED_NAME = candidate_name(0, 0, 0)
"""Name of the candidate of the problem's seed kernel."""


class SelectSettings(Value):
    """Settings of the rule select."""

    strategy: str
    """Name of the strategy, a module of `kopt.search.strategies`."""
    candidate_pool_size: int
    """Most parents of a round."""
    clustering: bool
    """Whether the summary counts clusters."""
    stop_share: float
    """Share of the roofline at which the search ends, 0 to 1."""
    patience: int
    """Rounds without improvement after which the search ends."""
    replayed: bool
    """Whether times come from a recording."""


def check_seed(tables: RoundTables) -> None:
    """Refuse a seed kernel that does not build or is wrong, from which no search can start.

    Raises:
        ProblemError: names the phase and the reason.
    """
    first = any(candidate.name == SEED_NAME for candidate in tables.candidates)
    if any(row.origin == SEED_NAME for row in tables.pool) if first else tables.pool:
        return
    trouble = [f"{row.phase}: {row.reason}" for row in tables.builds if row.status == "failed"]
    trouble += [f"{row.phase or row.verdict}: {row.reason}" for row in tables.evaluations]
    raise unusable_seed(trouble[0] if trouble else "it was not evaluated")


def unusable_seed(trouble: str, *, made: bool | None = None, tolerable: bool = False) -> ProblemError:
    """Make the error for a seed kernel that does not build or is wrong, on one line.

    Args:
        trouble: phase or verdict, and the reason.
        made: whether kopt made the seed kernel of the reference; None where that is not known.
        tolerable: whether the numbers alone are at fault, for which a tolerance may be too strict.
    """
    reason = " ".join(trouble.split())
    if made:
        looser = ", or set `tolerance` in problem.yaml if its error may be as large"
        return ProblemError(
            f"the seed kernel that kopt made of the reference is wrong, which is kopt's fault: {reason}; write "
            f"kernel.py (docs/problems.md){looser if tolerable else ''}"
        )
    remedy = "fix kernel.py" if made is False else "fix kernel.py, or write one where kopt made the seed"
    return ProblemError(f"the seed kernel cannot be used, {remedy}: {reason}")


def select_parents(
    tables: RoundTables, settings: SelectSettings, strategy: Strategy[A], previous: A | None = None
) -> tuple[list[SelectionRow], A]:
    """Choose the parents of the next round, in order of rank, and update the strategy's archive.

    Args:
        tables: the round's tables.
        settings: the rule's settings.
        strategy: the strategy that the settings name.
        previous: the archive of the previous round; None in round 0.
    """
    archive = strategy.archive() if previous is None else previous
    asked = [
        Asked(origin=one.name, parent=one.parent, model=one.model, cost_usd=one.cost_usd)
        for one in tables.candidates
        if one.status != ProposalStatus.SKIPPED
    ]
    return select(tables.pool, tables.techniques, strategy, archive, settings.candidate_pool_size, asked)


def summarise(
    round: int, tables: RoundTables, settings: SelectSettings, previous: RoundSummary | None = None
) -> RoundSummary:
    """Summarise a round: counts, the best kernel, and whether the search ends.

    Args:
        round: the round's number.
        tables: the round's tables; the pool holds at least one kernel.
        settings: the rule's settings.
        previous: the summary of the previous round; None in round 0.
    """
    unique = dedup(tables.pool)
    best = unique[0]
    previous_ms = _current_ms(previous, tables.pool) if previous else best.time_ms
    better = previous is not None and improved(best.time_ms, previous_ms, 0.0 if best.estimated else NOISE)
    idle = 0 if better or previous is None else previous.rounds_without_improvement + 1
    correct = [e.time_ms for e in tables.evaluations if e.verdict == "passed" and e.time_ms is not None]
    return RoundSummary(
        round=round,
        slots=sum(c.attempt == 0 and c.status != ProposalStatus.SKIPPED for c in tables.candidates),
        proposed=sum(c.status == ProposalStatus.PROPOSED for c in tables.candidates),
        built=sum(b.status == "built" for b in tables.builds),
        unique=sum(b.chunk >= 0 for b in tables.builds),
        correct=len(correct),
        faster=sum(time < previous_ms for time in correct),
        pool_before_dedup=len(tables.pool),
        pool=len(unique),
        clusters=len({row.cluster for row in tables.techniques}) if settings.clustering else 0,
        classified=sum(row.new for row in tables.techniques),
        best_kernel=best.kernel,
        best_ms=best.time_ms,
        best_model=best.model,
        best_origin=best.origin,
        estimated=best.estimated,
        roofline_share=best.roofline_share,
        seed_ms=previous.seed_ms if previous else _seed_ms(tables.pool),
        improved=better,
        rounds_without_improvement=idle,
        stopped=_stopped(best, idle, tables.candidates, settings, previous),
        screened=sum(e.verdict == "screened" for e in tables.evaluations),
        repaired=sum(e.verdict == "passed" and e.attempt > 0 for e in tables.evaluations),
    )


def _seed_ms(pool: Sequence[RankRow]) -> float:
    return next(row.time_ms for row in pool if row.origin == SEED_NAME)


def _current_ms(previous: RoundSummary, pool: Sequence[RankRow]) -> float:
    """Return the time of the previous best kernel, as this round measured it beside the new kernels."""
    return next((row.time_ms for row in pool if row.kernel == previous.best_kernel), previous.best_ms)


def _stopped(
    best: RankRow, idle: int, candidates: Sequence[Candidate], settings: SelectSettings, previous: RoundSummary | None
) -> StopReason | None:
    if previous is not None and previous.stopped:
        return previous.stopped
    if any(candidate.status == ProposalStatus.SKIPPED for candidate in candidates):
        return StopReason.BUDGET
    return stop_reason(
        best.roofline_share,
        idle,
        estimated=best.estimated,
        wanted_share=settings.stop_share,
        patience=settings.patience,
    )
