"""Share out a round's slots: each asks one proposer about one parent, in one direction."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product

from kopt.model.base import Value
from kopt.model.kernel import Slot
from kopt.model.trial import SelectionRow


class FanOut(Value):
    """The factors of a round's slots, P x B x M x S."""

    width: int
    """Parents that selection keeps (P)."""
    bottlenecks: int
    """Directions that each parent is diagnosed with (B)."""
    models: tuple[str, ...]
    """Proposers (M)."""
    samples: int
    """Slots that are alike in parent, direction and model (S)."""

    @property
    def slots(self) -> int:
        """Number of slots of a round."""
        return self.width * self.bottlenecks * len(self.models) * self.samples


def expand(parents: Sequence[SelectionRow], fan_out: FanOut) -> list[Slot]:
    """Share out a round's slots evenly: P x B x M x S, in that order.

    With fewer parents than `fan_out.width` (the first round has only the seed) the parents are taken round-robin, with
    sample indices of their own, so that no two slots make the same request.
    """
    places = product(range(fan_out.width), range(1, fan_out.bottlenecks + 1), fan_out.models, range(fan_out.samples))
    return [
        Slot(
            slot=number,
            parent=parents[place % len(parents)].kernel,
            parent_rank=place % len(parents),
            bottleneck=bottleneck,
            model=model,
            sample=sample + fan_out.samples * (place // len(parents)),
        )
        for number, (place, bottleneck, model, sample) in enumerate(places)
    ]


def unused(count: int, why: str) -> list[Slot]:
    """Make the slots of a round in which no proposer is asked."""
    return [
        Slot(slot=number, parent="", parent_rank=0, bottleneck=0, model="", sample=0, skipped=why)
        for number in range(count)
    ]
