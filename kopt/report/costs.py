"""Add up what replies of language models cost: by model, by round and purpose, by slot."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import TypeVar

from kopt.model.base import Value

PURPOSES = ("propose", "repair", "diagnose", "classify", "reflect", "other")
"""What replies are asked for, in the order of a round."""

Group = TypeVar("Group", int, str, tuple[int, int])


class Cost(Value):
    """Calls, tokens and dollars.  Tokens count for all replies, whether this run paid for them or found them stored."""

    calls: int = 0
    """Calls that brought a reply."""
    stored: int = 0
    """Replies that came from the store, for which this run paid nothing."""
    lost: int = 0
    """Calls that began and brought no reply."""
    turned_away: int = 0
    """Calls that a server turned away, at no cost."""
    input: int = 0
    """Input tokens, cached ones included."""
    cached: int = 0
    """Input tokens read from a prompt cache."""
    output: int = 0
    """Output tokens, reasoning included."""
    reasoning: int = 0
    """Output tokens that were reasoning."""
    paid_usd: float = 0.0
    """What this run paid, lost calls included, US dollars."""
    lost_usd: float = 0.0
    """Estimated cost of lost calls, US dollars; a part of `paid_usd`."""
    stored_usd: float = 0.0
    """What the replies from the store had cost when they were made, US dollars."""
    saved_usd: float = 0.0
    """What prompt caching saved in this run's calls, US dollars; negative when it cost more."""
    estimated: bool = False
    """Some tokens were estimated, since a server reported none."""

    @property
    def replayed(self) -> bool:
        """Whether every reply came from the store and nothing was asked."""
        return self.stored > 0 and self.calls + self.lost + self.turned_away == 0


class LabelledCost(Cost):
    """Cost of the requests with one label."""

    label: str
    """`r1a0s3`: slot 3 of round 1; `r1d0`, `r1c0`: diagnosis of a parent, classification of a kernel; `r1reflect`."""
    model: str
    round: int
    purpose: str
    """One of `PURPOSES`."""
    slot: int | None = None
    """Slot of a proposal or repair; None for requests that the slots share."""


def total(costs: Iterable[Cost]) -> Cost:
    """Add up costs; the order does not change the sum."""
    rows = list(costs)
    numbers = [name for name in Cost.model_fields if name != "estimated"]
    sums = {name: _sum(getattr(row, name) for row in rows) for name in numbers}
    return Cost(**sums, estimated=any(row.estimated for row in rows))


def grouped(costs: Iterable[LabelledCost], key: Callable[[LabelledCost], Group]) -> dict[Group, Cost]:
    """Add up costs that share a key; the keys are sorted."""
    groups: dict[Group, list[LabelledCost]] = {}
    for row in costs:
        groups.setdefault(key(row), []).append(row)
    return {name: total(groups[name]) for name in sorted(groups)}


def by_model(costs: Iterable[LabelledCost]) -> dict[str, Cost]:
    """Add up costs by model, in order of name."""
    return grouped(costs, lambda row: row.model)


def by_round(costs: Iterable[LabelledCost]) -> dict[int, Cost]:
    """Add up costs by round."""
    return grouped(costs, lambda row: row.round)


def by_round_and_purpose(costs: Iterable[LabelledCost]) -> dict[tuple[int, str], Cost]:
    """Add up costs by round and purpose, in the order in which a round asks."""
    sums = grouped(costs, lambda row: (row.round, PURPOSES.index(row.purpose)))
    return {(round, PURPOSES[place]): cost for (round, place), cost in sums.items()}


def by_slot(costs: Iterable[LabelledCost]) -> dict[tuple[int, int], Cost]:
    """Add up costs by round and slot, repairs included; requests that slots share are left out."""
    return grouped((row for row in costs if row.slot is not None), lambda row: (row.round, row.slot or 0))


def dollars(usd: float) -> str:
    """Write dollars with two decimals, four below one dollar; a minus stands before the sign."""
    sign, size = "-" if usd < 0 else "", abs(usd)
    return f"{sign}${size:.2f}" if size >= 1 or size == 0 else f"{sign}${size:.4f}"


def _sum(numbers: Iterable[float]) -> float | int:
    values = list(numbers)
    return sum(values) if all(isinstance(value, int) for value in values) else math.fsum(values)
