"""Stage expand: the slots of a round, or empty ones once the search has stopped."""

from __future__ import annotations

from collections.abc import Sequence

from kopt.model.kernel import Slot
from kopt.model.trial import RoundSummary, SelectionRow
from kopt.search.expand import expand, unused


def expand_round(
    parents: Sequence[SelectionRow],
    previous: RoundSummary,
    *,
    pool: int,
    bottlenecks: int,
    models: Sequence[str],
    samples: int,
) -> list[Slot]:
    """The slots of the round after `previous`."""
    slots = expand(parents, pool=pool, bottlenecks=bottlenecks, models=models, samples=samples)
    if previous.stopped:
        return unused(len(slots), f"stopped: {previous.stopped}")
    return slots
