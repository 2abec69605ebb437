"""Strategy `bandit`: a beam whose slots go to the models that gain most for their dollars.

A model's gain is how much faster its children are than their parents: the sum of ln(parent's time / child's time) over
the correct children that are faster.  Its price is what its replies cost when they were made, failed ones and repairs
included, and `SLOT_USD` for each, since building and judging a kernel is not free either: so an embedded proposer has a
price, too.  Every model gets one slot of a round, if there are enough.  The others are dealt out one by one by UCB1
(Auer, Cesa-Bianchi and Fischer 2002): the next slot goes to the model with the highest sum of its gain for a dollar,
relative to the best model's, and of a bonus for models that were asked seldom; slots that this round has dealt out
count as asked.  Nothing is drawn, and all figures come from the run's tables.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import product
from math import inf, log, sqrt

from pydantic import Field

from kopt.errors import ConfigError
from kopt.model.base import Value
from kopt.model.kernel import Slot
from kopt.model.trial import SelectionRow
from kopt.search.expand import FanOut
from kopt.search.order import dedup
from kopt.search.strategy import Archive, Asked, PoolMember, Strategy

SLOT_USD = 0.003
"""Assumed price of building and judging one kernel, US dollars: four seconds of a GPU for 2.70 dollars an hour."""
BONUS = 0.5
"""Weight of the bonus for models that were asked seldom."""


class Record(Value):
    """What a model was asked, and what came of it."""

    asked: int = 0
    """Requests, repairs included."""
    usd: float = 0.0
    """Cost of its replies, US dollars."""
    gain: float = 0.0
    """Sum of ln(parent's time / child's time) over its children that are faster than their parents."""

    @property
    def rate(self) -> float:
        """Gain for a dollar."""
        return self.gain / (self.usd + SLOT_USD * self.asked) if self.asked else 0.0


class Records(Archive):
    """The records of all models."""

    models: dict[str, Record] = Field(default_factory=dict)


class Bandit(Strategy[Records]):
    """Keep the fastest kernels as parents, and let the models compete for slots."""

    archive = Records

    def check(self, fan_out: FanOut) -> None:
        """Refuse a single model."""
        super().check(fan_out)
        if len(fan_out.models) < 2:
            raise ConfigError(
                "strategy bandit shares slots out among models: name at least two in models, or take strategy beam"
            )

    def learn(self, asked: Sequence[Asked], pool: Sequence[PoolMember], archive: Records) -> Records:
        """Add the round's requests to the records of their models."""
        times = {one.kernel: one.time_ms for one in pool}
        children = {one.origin: one.time_ms for one in pool}
        models = dict(archive.models)
        for one in sorted(asked, key=lambda one: one.origin):
            if one.parent:
                before = models.get(one.model, Record())
                parent_ms, child_ms = times.get(one.parent), children.get(one.origin)
                gain = max(log(parent_ms / child_ms), 0.0) if parent_ms and child_ms else 0.0
                models[one.model] = Record(
                    asked=before.asked + 1, usd=before.usd + one.cost_usd, gain=before.gain + gain
                )
        return Records(models=models)

    def choose(self, pool: Sequence[PoolMember], archive: Records, width: int) -> tuple[list[PoolMember], Records]:
        """Choose the fastest, equal kernels merged."""
        return dedup(pool)[:width], archive

    def slots(self, parents: Sequence[SelectionRow], archive: Records, fan_out: FanOut) -> list[Slot]:
        """Deal out the slots to the models, and each model's slots evenly to parents and directions."""
        shares = dealt(fan_out.models, archive.models, fan_out.slots)
        models = [model for model in fan_out.models for _ in range(shares[model])]
        places = list(product(range(fan_out.width), range(1, fan_out.bottlenecks + 1)))
        alike: Counter[tuple[int, int, str]] = Counter()
        slots = []
        for number, model in enumerate(models):
            place, bottleneck = places[number % len(places)]
            rank = place % len(parents)
            slots.append(
                Slot(
                    slot=number, parent=parents[rank].kernel, parent_rank=rank, bottleneck=bottleneck, model=model,
                    sample=alike[rank, bottleneck, model],
                )
            )  # fmt: skip
            alike[rank, bottleneck, model] += 1
        return slots


def dealt(models: Sequence[str], records: Mapping[str, Record], slots: int) -> dict[str, int]:
    """Return how many slots each model gets.

    Args:
        models: in the configuration's order, which breaks ties.
        records: by model; a model without one was never asked.
        slots: number of slots to deal out.
    """
    rates = {model: records.get(model, Record()).rate for model in models}
    best = max(rates.values()) or 1.0
    asked = {model: records[model].asked if model in records else 0 for model in models}
    shares = dict.fromkeys(models, 0)

    def index(model: str) -> float:
        count = asked[model] + shares[model]
        total = sum(asked.values()) + sum(shares.values())
        bonus = BONUS * sqrt(2 * log(total) / count) if count else inf
        return inf if not shares[model] else rates[model] / best + bonus

    for _ in range(slots):
        shares[max(models, key=index)] += 1
    return shares


STRATEGY = Bandit()
