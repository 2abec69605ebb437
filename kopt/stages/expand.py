"""Stage `expand`: share a round's slots out among the parents, or leave all unused once the search has stopped."""

from __future__ import annotations

from collections.abc import Sequence

from kopt.model.base import Value
from kopt.model.kernel import Slot
from kopt.model.trial import RoundSummary, SelectionRow
from kopt.search.expand import FanOut, unused
from kopt.search.strategy import A, Strategy


class ExpandSettings(Value):
    """Settings of the rule expand."""

    strategy: str
    """Name of the strategy, a module of `kopt.search.strategies`."""
    candidate_pool_size: int
    num_bottlenecks: int
    proposers: tuple[str, ...]
    samples_per_prompt: int

    @property
    def fan_out(self) -> FanOut:
        """The factors whose product is the number of a round's slots."""
        return FanOut(
            width=self.candidate_pool_size,
            bottlenecks=self.num_bottlenecks,
            models=self.proposers,
            samples=self.samples_per_prompt,
        )


def expand_round(
    strategy: Strategy[A], parents: Sequence[SelectionRow], archive: A, previous: RoundSummary, fan_out: FanOut
) -> list[Slot]:
    """Make the slots of the round after `previous`, exactly `fan_out.slots`.

    Args:
        strategy: the run's strategy.
        parents: the parents that the strategy chose after the previous round.
        archive: the strategy's archive after the previous round.
        previous: the previous round's summary, which says whether the search has stopped.
        fan_out: the factors of the round's slots.
    """
    if previous.stopped:
        return unused(fan_out.slots, f"stopped: {previous.stopped}")
    slots = strategy.slots(parents, archive, fan_out)
    assert len(slots) == fan_out.slots, "the DAG has one place for each slot of the fan-out"
    return slots
