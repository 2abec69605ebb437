"""Sum what replies cost: by model, by round and purpose, by slot."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TypeVar

from kopt.model.cost import Cost, LabelledCost, total

PURPOSES = ("propose", "repair", "diagnose", "classify", "reflect", "other")
"""Purposes of a request, in the order of a round."""

Group = TypeVar("Group", int, str, tuple[int, int])


def grouped(costs: Iterable[LabelledCost], key: Callable[[LabelledCost], Group]) -> dict[Group, Cost]:
    """Sum by `key`, in the order of its values."""
    groups: dict[Group, list[LabelledCost]] = {}
    for row in costs:
        groups.setdefault(key(row), []).append(row)
    return {name: total(groups[name]) for name in sorted(groups)}


def by_model(costs: Iterable[LabelledCost]) -> dict[str, Cost]:
    """Sum by model, in order of name."""
    return grouped(costs, lambda row: row.model)


def by_round(costs: Iterable[LabelledCost]) -> dict[int, Cost]:
    """Sum by round."""
    return grouped(costs, lambda row: row.round)


def by_round_and_purpose(costs: Iterable[LabelledCost]) -> dict[tuple[int, str], Cost]:
    """Sum by round and purpose, in the order in which a round asks."""
    sums = grouped(costs, lambda row: (row.round, PURPOSES.index(row.purpose)))
    return {(round, PURPOSES[place]): cost for (round, place), cost in sums.items()}


def by_slot(costs: Iterable[LabelledCost]) -> dict[tuple[int, int], Cost]:
    """Sum by round and slot, repairs included; what slots share is in none."""
    return grouped((row for row in costs if row.slot is not None), lambda row: (row.round, row.slot or 0))


def dollars(usd: float) -> str:
    """Format dollars for people: with cents, or four decimals below one dollar; a minus stands before the sign."""
    sign, size = "-" if usd < 0 else "", abs(usd)
    return f"{sign}${size:.2f}" if size >= 1 or size == 0 else f"{sign}${size:.4f}"


def spent(cost: Cost) -> str:
    """Say what a run paid for the replies of language models, and whether they had a price."""
    if not (cost.calls or cost.stored or cost.lost):
        return "none asked"
    replies = cost.calls + cost.stored
    if not (cost.paid_usd or cost.stored_usd):
        return f"{replies} repl{'y' if replies == 1 else 'ies'} without a price: nothing spent"
    if cost.replayed:
        return f"nothing paid; the replies had cost {dollars(cost.stored_usd)}"
    return f"{dollars(cost.paid_usd)} paid" + (
        f"; replies from the store had cost {dollars(cost.stored_usd)}" if cost.stored else ""
    )
