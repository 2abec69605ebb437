"""Choose the slots of a round in which the rewriter refines a fast parent."""

from __future__ import annotations

import math
from collections.abc import Sequence

from kopt.model.kernel import Slot
from kopt.model.proposers import NEAR_BEST, REWRITER
from kopt.model.trial import SelectionRow

FIRST_ROUND = 2
"""First round that refines: before, only seed kernels have times."""


def tuned_slots(slots: Sequence[Slot], parents: Sequence[SelectionRow], round: int, share: float) -> frozenset[int]:
    """Choose a share of the rewriter's slots, all of fast parents.

    Each fast parent gives up to half of its slots, the fastest parent first, and of a parent the last first, whose
    directions are the least promising.

    Args:
        slots: the round's slots.
        parents: the parents of the round.
        round: number of the round.
        share: the share of slots, 0 to 1.
    """
    mine = [slot for slot in slots if slot.model == REWRITER and not slot.skipped]
    best = min((row.time_ms for row in parents), default=0.0)
    offers: list[tuple[int, float, int]] = []
    for row in parents if round >= FIRST_ROUND else ():
        own = sorted((s for s in mine if s.parent == row.kernel), key=lambda s: (-s.bottleneck, -s.slot))
        if row.time_ms <= NEAR_BEST * best:
            offers += [(turn, row.time_ms, slot.slot) for turn, slot in enumerate(own[: math.ceil(len(own) / 2)])]
    return frozenset(slot for _, _, slot in sorted(offers)[: math.floor(share * len(mine) + 0.5)])
