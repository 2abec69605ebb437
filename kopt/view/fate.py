"""Say of each candidate whether a selection kept it as a parent, and if not, why: its rank, and what was kept."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from kopt.model.trial import RankRow, SelectionRow, Trial
from kopt.report.numbers import ordinal
from kopt.run.tables import Round
from kopt.run.value import Run
from kopt.run_settings import RunSettings
from kopt.search.order import dedup

FASTEST = ("beam", "bandit", "greedy", "noop")
"""Strategies whose parents are the fastest kernels of the pool."""


def fates(run: Run) -> dict[str, str]:
    """Say by name of each candidate in which rounds it was selected, or why it was not."""
    kept: dict[str, list[str]] = {}
    for number, round in enumerate(run.rounds):
        for row in round.selection:
            kept.setdefault(row.origin, []).append(f"rank {row.rank + 1} of round {number}")
    pools = [dedup(round.tables.pool) for round in run.rounds]
    return {
        trial.name: f"{', '.join(kept[trial.name])}; {_place(trial, pools[trial.round])}"
        if trial.name in kept
        else f"no: {_why_not(trial, run.rounds[trial.round], pools[trial.round], RunSettings(run.config).strategy)}"
        for trial in run.trials
    }


def _place(trial: Trial, pool: Sequence[RankRow]) -> str:
    """Write the place of a trial in the pool of its round, equal kernels merged."""
    place = next((place for place, row in enumerate(pool, 1) if row.origin == trial.name), 0)
    return f"{ordinal(place)} of {len(pool)} by time" if place else "not in the pool of its round"


def _why_not(trial: Trial, round: Round, pool: Sequence[RankRow], strategy: str) -> str:
    if trial.verdict == "duplicate":
        return f"it is a duplicate of {trial.duplicate_of}"
    if trial.verdict != "passed":
        return "only correct kernels are in the pool"
    if all(row.origin != trial.name for row in pool):
        same = next((row for row in pool if row.fingerprint and row.fingerprint == trial.fingerprint), None)
        return f"{same.origin} compiles to the same code" if same else "it is not in the pool of its round"
    text, parents = _place(trial, pool), round.selection
    if strategy in FASTEST and [row.origin for row in parents] == [row.origin for row in pool[: len(parents)]]:
        return f"{text}, and {strategy} keeps the {'fastest' if len(parents) == 1 else f'{len(parents)} fastest'}"
    return f"{text}{_in_cluster(trial, round, pool)}; {strategy} kept {_listed(parents, pool)}"


def _in_cluster(trial: Trial, round: Round, pool: Sequence[RankRow]) -> str:
    """Write the place of a trial among the kernels of its cluster."""
    clusters: Mapping[str, str] = {row.kernel: row.cluster for row in round.tables.techniques}
    alike = [row.origin for row in pool if clusters.get(row.kernel, row.kernel) == trial.cluster]
    if trial.name not in alike:
        return ""
    return f", {ordinal(alike.index(trial.name) + 1)} of {len(alike)} with the same techniques"


def _listed(parents: Sequence[SelectionRow], pool: Sequence[RankRow]) -> str:
    places = {row.origin: place for place, row in enumerate(pool, 1)}
    return ", ".join(
        f"{row.origin} ({ordinal(places[row.origin])})" if row.origin in places else row.origin for row in parents
    )
