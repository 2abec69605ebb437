"""Read the best time of a run at a budget: slots, US dollars, or GPU seconds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from kopt.comparison.entrant import Entrant, Point

Over = Literal["slots", "dollars", "gpu_s"]
OVER: tuple[Over, ...] = ("slots", "dollars", "gpu_s")
TITLES: dict[Over, str] = {"slots": "slots", "dollars": "US dollars for replies", "gpu_s": "GPU seconds"}
"""Budgets, and how people call them."""

PLACES = 60
"""Most points of a curve."""


def spent(point: Point, over: Over) -> float:
    """Return what had been spent at a point of a run."""
    if over == "slots":
        return point.slots
    return point.dollars if over == "dollars" else point.gpu_s or 0.0


def unavailable(entrants: Sequence[Entrant], over: Over) -> str:
    """Say why nothing can be compared at equal amounts of something; empty where it can."""
    totals = [spent(one.points[-1], over) for one in entrants]
    if over == "dollars":
        if not any(totals):
            return "no language model was asked, so that no dollars were spent"
        free = [one.label for one, total in zip(entrants, totals, strict=True) if not total]
        return f"{free[0]} spent nothing, which no other strategy can equal" if free else ""
    if over == "gpu_s":
        if entrants[0].kind != "measured":
            return "no GPU was used: times are not measured"
        if not all(totals):
            return "Snakemake's record of the jobs is not at hand for all runs"
        stores = [one.store for one in entrants]
        if len(set(stores)) < len(stores):
            return (
                "runs share a store, in which they found what others had measured: give each a store of its own "
                "(own_stores: true)"
            )
    return ""


def budget(entrants: Sequence[Entrant], over: Over) -> float:
    """Return the largest budget that all runs had: of slots the planned ones, of other things what was spent.

    A run that ended early keeps the best time that it had then for the slots that it left out.
    """
    if over == "slots":
        return min(one.slots_planned for one in entrants)
    return min(spent(one.points[-1], over) for one in entrants)


def best_at(entrant: Entrant, over: Over, most: float) -> float:
    """Return a run's best time when it had spent at most `most`, ms; the seed kernel is free."""
    known = [point.best_ms for point in entrant.points if spent(point, over) <= most]
    return min(known, default=entrant.points[0].best_ms)


def speedup_at(entrant: Entrant, over: Over, most: float) -> float:
    """Return the seed kernel's time over the best time when a run had spent at most `most`."""
    return entrant.points[0].best_ms / best_at(entrant, over, most)


def curve_places(entrants: Sequence[Entrant], over: Over, most: float) -> list[float]:
    """Return the amounts at which curves have a point: where the best time of a run changes, and the ends."""
    places = {0.0, float(most)}
    for one in entrants:
        for before, after in zip(one.points, one.points[1:], strict=False):
            if after.best_ms < before.best_ms and spent(after, over) <= most:
                places.add(float(spent(after, over)))
    ordered = sorted(places)
    if len(ordered) <= PLACES:
        return ordered
    return [*(ordered[len(ordered) * place // PLACES] for place in range(PLACES)), ordered[-1]]
