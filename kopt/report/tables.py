"""Compute the report's tables from the trials: models, the fastest kernels, clusters."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import groupby, pairwise
from typing import NamedTuple

from kopt.model.trial import RoundSummary, SelectionRow, TimedKernel, Trial
from kopt.report.numbers import Time, unsure

SAME_FLOOR = 1e-3
"""Relative difference up to which two floors are the same."""


class ModelRow(NamedTuple):
    """The contribution of one proposer."""

    model: str
    asked: int
    proposed: int
    built: int
    duplicates: int
    failed: int
    """Failed or incorrect."""
    correct: int
    wins: int
    """Correct and faster than the parent, by more than the error of estimates or the noise of measurements."""
    selected: int
    fastest: Trial | None
    cost_usd: float


class Cluster(NamedTuple):
    """The kernels that share a technique vector."""

    techniques: tuple[str, ...]
    classified: bool
    """False for kernels that were not classified: one row shows them all, though each is a cluster of its own."""
    members: int
    selected: int
    fastest: Trial


def correct_trials(trials: Sequence[Trial]) -> list[Trial]:
    """List the trials that passed, each kernel once, fastest first; equal times keep the order of their slots."""
    return sorted((t for t in trials if t.verdict == "passed" and t.time_ms is not None), key=by_time)


def by_time(trial: Trial) -> tuple[float, int, int, int]:
    """Sort key: time, then round, attempt and slot."""
    assert trial.time_ms is not None
    return trial.time_ms, trial.round, trial.attempt, trial.slot


def time_of(row: Trial | TimedKernel) -> Time | None:
    """Return the time of a kernel; None where it has none."""
    return None if row.time_ms is None else Time(row.time_ms, row.low_ms, row.high_ms, bool(row.estimated))


def unsure_between(one: Trial, other: Trial) -> str:
    """Say why it cannot be told which of two candidates is faster; empty where it can, or where one has no time."""
    times = time_of(one), time_of(other)
    return unsure(times[0], times[1]) if times[0] and times[1] else ""


def is_faster(one: Time | None, other: Time | None) -> bool:
    """Return whether one time is shorter than another beyond doubt; False where one of them is not known."""
    return bool(one and other and one.ms < other.ms and not unsure(one, other))


def faster_in(
    trials: Sequence[Trial], rounds: Sequence[RoundSummary], selections: Sequence[Sequence[SelectionRow]]
) -> dict[int, int]:
    """Count for each round its correct kernels that are faster beyond doubt than the best of the rounds before."""
    named = {trial.name: time_of(trial) for trial in trials}
    found = {summary.round: 0 for summary in rounds}
    for before, summary in pairwise(rounds):
        kept = {row.origin: time_of(row) for row in selections[before.round]} if before.round < len(selections) else {}
        best = kept.get(before.best_origin) or named.get(before.best_origin)
        own = (trial for trial in correct_trials(trials) if trial.round == summary.round)
        found[summary.round] = sum(is_faster(time_of(trial), best) for trial in own)
    return found


def models(trials: Sequence[Trial]) -> list[ModelRow]:
    """Sum up each proposer's contribution, in order of name; the seed's round 0 and unused slots do not count."""
    used = sorted((t for t in trials if t.round > 0 and t.status != "skipped"), key=lambda trial: trial.model)
    times: dict[str, Time] = {}
    for trial in trials:
        if trial.kernel and (time := time_of(trial)):
            times.setdefault(trial.kernel, time)
    return [_model(model, list(group), times) for model, group in groupby(used, lambda trial: trial.model)]


def _model(model: str, trials: Sequence[Trial], times: Mapping[str, Time]) -> ModelRow:
    correct = correct_trials(trials)
    return ModelRow(
        model=model,
        asked=len(trials),
        proposed=_count(trials, lambda t: t.status == "proposed"),
        built=_count(trials, lambda t: bool(t.fingerprint) or t.verdict in ("passed", "incorrect", "duplicate")),
        duplicates=_count(trials, lambda t: t.verdict == "duplicate"),
        failed=_count(trials, lambda t: t.verdict in ("failed", "incorrect")),
        correct=len(correct),
        wins=_count(correct, lambda t: is_faster(time_of(t), times.get(t.parent))),
        selected=_count(trials, lambda t: t.selected_rank is not None),
        fastest=correct[0] if correct else None,
        cost_usd=sum(t.cost_usd for t in trials),
    )


def _count(trials: Sequence[Trial], holds: Callable[[Trial], bool]) -> int:
    return sum(map(holds, trials))


def floors(trials: Sequence[Trial]) -> dict[float, tuple[int, ...]]:
    """Find the roofline floors, ms, by which shares of the roofline were worked out, and the rounds of each.

    There are several where the device's rates were measured anew, as in a search that goes on with another GPU.
    """
    known = sorted(
        (trial.time_ms * trial.roofline_share, trial.round)
        for trial in trials
        if trial.verdict == "passed" and trial.time_ms and trial.roofline_share and trial.roofline_share < 1
    )
    groups: list[list[tuple[float, int]]] = []
    for floor, round in known:
        if groups and floor < groups[-1][0][0] * (1 + SAME_FLOOR):
            groups[-1].append((floor, round))
        else:
            groups.append([(floor, round)])
    return {group[0][0]: tuple(sorted({round for _, round in group})) for group in groups}


def clusters(trials: Sequence[Trial]) -> list[Cluster]:
    """Group the correct kernels by cluster, the one with the fastest kernel first."""
    groups: dict[str, list[Trial]] = {}
    for trial in correct_trials(trials):
        if trial.cluster:
            groups.setdefault("" if trial.cluster == trial.kernel else trial.cluster, []).append(trial)
    return [
        Cluster(
            techniques=group[0].techniques,
            classified=bool(name),
            members=len(group),
            selected=_count(group, lambda t: t.selected_rank is not None),
            fastest=group[0],
        )
        for name, group in groups.items()
    ]
