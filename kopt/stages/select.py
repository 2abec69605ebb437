"""Stage select: the parents of the next round, what the round came to, and whether the search goes on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from kopt.errors import ProblemError
from kopt.model.kernel import Candidate, ProposalStatus
from kopt.model.trial import BuildRow, EvaluationRow, RankRow, RoundSummary, SelectionRow, StopReason, TechniqueRow
from kopt.search.order import dedup
from kopt.search.select import select
from kopt.search.stopping import NOISE, improved, stop_reason


@dataclass(frozen=True)
class RoundTables:
    """What a round's attempts left, all attempts together."""

    candidates: Sequence[Candidate]
    builds: Sequence[BuildRow]
    evaluations: Sequence[EvaluationRow]
    pool: Sequence[RankRow]
    techniques: Sequence[TechniqueRow]


@dataclass(frozen=True)
class Rules:
    """The settings that selection and stopping follow."""

    width: int
    clustering: bool
    share: float
    patience: int


def check_seed(tables: RoundTables) -> None:
    """Refuse a seed kernel that does not build or is wrong: nothing can be searched from it.

    Raises:
        ProblemError: says what is wrong with it.
    """
    if tables.pool:
        return
    trouble = [f"{row.phase}: {row.reason}" for row in tables.builds if row.status == "failed"]
    trouble += [f"{row.phase or row.verdict}: {row.reason}" for row in tables.evaluations]
    raise unusable_seed(trouble[0] if trouble else "it was not evaluated")


def unusable_seed(trouble: str) -> ProblemError:
    """What to say of a seed kernel that does not build or is wrong, on one line."""
    return ProblemError(f"the seed kernel cannot be used, mend kernel.py: {' '.join(trouble.split())}")


def select_parents(tables: RoundTables, rules: Rules) -> list[SelectionRow]:
    """The parents of the next round, in order of selection."""
    return select(tables.pool, tables.techniques, width=rules.width, clustering=rules.clustering)


def summarise(round: int, tables: RoundTables, rules: Rules, previous: RoundSummary | None = None) -> RoundSummary:
    """What the round came to."""
    unique = dedup(tables.pool)
    best = unique[0]
    previous_ms = _now(previous, tables.pool) if previous else best.time_ms
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
        clusters=len({row.cluster for row in tables.techniques}) if rules.clustering else 0,
        classified=sum(row.new for row in tables.techniques),
        best_kernel=best.kernel,
        best_ms=best.time_ms,
        best_model=best.model,
        best_origin=best.origin,
        estimated=best.estimated,
        roofline_share=best.roofline_share,
        seed_ms=previous.seed_ms if previous else best.time_ms,
        improved=better,
        rounds_without_improvement=idle,
        stopped=_stopped(best, idle, tables.candidates, rules, previous),
    )


def _now(previous: RoundSummary, pool: Sequence[RankRow]) -> float:
    """Time of the previous best kernel, as this round measured it beside its challengers."""
    return next((row.time_ms for row in pool if row.kernel == previous.best_kernel), previous.best_ms)


def _stopped(
    best: RankRow, idle: int, candidates: Sequence[Candidate], rules: Rules, previous: RoundSummary | None
) -> StopReason | None:
    if previous is not None and previous.stopped:
        return previous.stopped
    if any(candidate.status == ProposalStatus.SKIPPED for candidate in candidates):
        return StopReason.BUDGET
    return stop_reason(best.roofline_share, idle, estimated=best.estimated, share=rules.share, patience=rules.patience)
