"""Strategy `greedy`: follow one lineage, in which each round asks for one child of the fastest kernel."""

from __future__ import annotations

from kopt.errors import ConfigError
from kopt.search.expand import FanOut
from kopt.search.strategies.beam import Beam


class Greedy(Beam):
    """A beam of one parent and one slot."""

    def check(self, fan_out: FanOut) -> None:
        """Refuse more than one slot a round."""
        super().check(fan_out)
        if fan_out.slots != 1:
            raise ConfigError(
                "strategy greedy follows one lineage: candidate_pool_size, num_bottlenecks, models and "
                f"samples_per_prompt must come to one slot, not {fan_out.slots}"
            )


STRATEGY = Greedy()
