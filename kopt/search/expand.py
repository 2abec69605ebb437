"""Fan-out: which proposer is asked about which parent, in which direction, in which slot."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product

from kopt.model.kernel import Slot
from kopt.model.trial import SelectionRow


def expand(
    parents: Sequence[SelectionRow], *, pool: int, bottlenecks: int, models: Sequence[str], samples: int
) -> list[Slot]:
    """The slots of a round: P x B x M x S, in that order.

    With fewer parents than `pool` (the first round has only the seed) the parents are taken round-robin, with sample
    indices of their own, so that no two slots make the same request.
    """
    places = product(range(pool), range(1, bottlenecks + 1), models, range(samples))
    return [
        Slot(
            slot=number,
            parent=parents[place % len(parents)].kernel,
            parent_rank=place % len(parents),
            bottleneck=bottleneck,
            model=model,
            sample=sample + samples * (place // len(parents)),
        )
        for number, (place, bottleneck, model, sample) in enumerate(places)
    ]


def unused(count: int, why: str) -> list[Slot]:
    """The slots of a round in which nothing is asked."""
    return [
        Slot(slot=number, parent="", parent_rank=0, bottleneck=0, model="", sample=0, skipped=why)
        for number in range(count)
    ]
