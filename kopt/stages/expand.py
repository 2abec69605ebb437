"""Stage expand: the slots of a round, or empty ones once the search has stopped."""

from __future__ import annotations

from collections.abc import Sequence

from kopt.model.kernel import Candidate, ProposalStatus, Slot
from kopt.model.trial import RoundSummary, SelectionRow
from kopt.search.expand import expand, unused


def expand_round(
    parents: Sequence[SelectionRow],
    previous: RoundSummary,
    *,
    spent: bool,
    pool: int,
    bottlenecks: int,
    models: Sequence[str],
    samples: int,
) -> list[Slot]:
    """The slots of the round after `previous`; `spent`: its budget for language models was."""
    slots = expand(parents, pool=pool, bottlenecks=bottlenecks, models=models, samples=samples)
    if previous.stopped:
        return unused(len(slots), f"stopped: {previous.stopped}")
    return unused(len(slots), "stopped: the budget is spent") if spent else slots


def is_spent(candidates: Sequence[Candidate]) -> bool:
    """Whether something was not asked any more: the run's budget is spent, or the search had stopped before."""
    return any(candidate.status == ProposalStatus.SKIPPED for candidate in candidates)
