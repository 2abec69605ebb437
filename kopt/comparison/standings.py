"""Compute what a comparison says at equal budgets: medians with intervals, win rates, curves of the best so far."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations, groupby
from math import exp, log
from statistics import fmean, median
from typing import Literal

import numpy as np

from kopt.comparison.budget import OVER, Over, best_at, budget, curve_places, speedup_at, unavailable
from kopt.comparison.comparable import refuse, warnings
from kopt.comparison.entrant import Entrant, Kind
from kopt.model.base import Value
from kopt.report.numbers import is_within_error
from kopt.search.stopping import NOISE
from kopt.statistics import Interval, mean_interval, median_interval

FEWEST = 6
"""Fewest pairs with which a difference is called one: five fall to one side by chance in one case of sixteen."""


Answer = Literal[
    "faster",
    "slower",
    "faster, within the error of estimates",
    "slower, within the error of estimates",
    "no difference seen",
    "too few pairs to say",
]


class Spread(Value):
    """A middle with its 95 % bootstrap interval."""

    middle: float
    low: float | None
    """Lower end; None for a single run or pair, which says nothing of its spread."""
    high: float | None


class Standing(Value):
    """One strategy on one problem at a budget."""

    over: Over
    budget: float
    problem: str
    label: str
    runs: int
    """Runs, each with another seed."""
    speedup: Spread
    """Median over the runs of the seed kernel's time over the best time."""
    best_ms: Spread
    """Median over the runs of the best time, ms."""


class Duel(Value):
    """Two strategies, paired by problem and seed, at equal budgets."""

    over: Over
    label: str
    other: str
    pairs: int
    problems: int
    wins: int
    """Pairs in which `label` found the faster kernel."""
    ties: int
    """Pairs in which the best times are equal, or differ by less than the noise of measurements."""
    losses: int
    win_rate: Spread
    """Share of wins, a tie counting half, 0 to 1."""
    ratio: Spread
    """Geometric mean over the pairs of the best time of `label` over that of `other`: below 1 `label` is faster."""
    answer: Answer
    """Whether `label` is faster or slower than `other`: only if the interval of `ratio` does not contain 1, and a ratio
    of measured times differs from 1 by more than their noise.  Of a ratio of estimates that is nearer to 1 than their
    error it says that: on a GPU the order may be the other one."""


class CurvePoint(Value):
    """The runs of one strategy on one problem after some of the budget."""

    over: Over
    problem: str
    label: str
    spent: float
    speedup: float
    """Median over the runs."""
    low: float
    """First quartile."""
    high: float
    """Third quartile."""


class Comparison(Value):
    """Finished runs, compared."""

    name: str
    kind: Kind
    judge: str
    device: str
    statement: str
    """How times and replies were obtained, in a sentence."""
    labels: tuple[str, ...]
    problems: tuple[str, ...]
    seeds: tuple[int, ...]
    warnings: tuple[str, ...]
    """Reasons to trust the comparison less, such as unequal budgets or lacking runs, a line each."""
    unavailable: dict[Over, str]
    """Budgets at which nothing can be compared, and why."""
    standings: tuple[Standing, ...]
    duels: tuple[Duel, ...]
    curves: tuple[CurvePoint, ...]
    entrants: tuple[Entrant, ...]


def compare(entrants: Sequence[Entrant], name: str, notes: Sequence[str] = ()) -> Comparison:
    """Compare finished runs.

    Args:
        entrants: the runs, at least one.
        name: name of the comparison.
        notes: further warnings, e.g. about runs that have not ended.

    Raises:
        ConfigError: some of the runs cannot be compared.
    """
    entrants = sorted(entrants, key=lambda one: (one.label, one.problem, one.seed, one.folder))
    refuse(entrants)
    lacking: dict[Over, str] = {over: why for over in OVER if (why := unavailable(entrants, over))}
    overs = [over for over in OVER if over not in lacking]
    first = entrants[0]
    return Comparison(
        name=name, kind=first.kind, judge=first.judge, device=first.device, statement=statement(entrants),
        labels=tuple(sorted({one.label for one in entrants})),
        problems=tuple(sorted({one.problem for one in entrants})), seeds=tuple(sorted({one.seed for one in entrants})),
        warnings=(*notes, *warnings(entrants)), unavailable=lacking,
        standings=tuple(one for over in overs for one in _standings(entrants, over)),
        duels=tuple(one for over in overs for one in _duels(entrants, over)),
        curves=tuple(one for over in overs for one in _curves(entrants, over)), entrants=tuple(entrants),
    )  # fmt: skip


def statement(entrants: Sequence[Entrant]) -> str:
    """Say what the times of the runs are, and where their replies came from."""
    first = entrants[0]
    if first.kind == "made up":
        times = f"all times are made up (judge {first.judge}): they say nothing about any strategy"
    elif first.kind == "estimated":
        times = f"all times are estimated for {first.device}, none is measured: the answer holds for the estimate alone"
    else:
        times = f"all times are measured on {first.device}, in the races of their rounds"
    replies = sorted({one.replies for one in entrants})
    if replies == ["none"]:
        return f"{times}; no language model was asked"
    return f"{times}; replies of language models are {', '.join(replies)}, and cost what they cost when they were made"


def _by_cell(entrants: Sequence[Entrant]) -> list[tuple[str, str, list[Entrant]]]:
    ordered = sorted(entrants, key=lambda one: (one.problem, one.label, one.seed))
    cells = groupby(ordered, key=lambda one: (one.problem, one.label))
    return [(problem, label, list(own)) for (problem, label), own in cells]


def _budget_of(entrants: Sequence[Entrant], over: Over, problem: str) -> float:
    return budget([one for one in entrants if one.problem == problem], over)


def _standings(entrants: Sequence[Entrant], over: Over) -> list[Standing]:
    found = []
    for problem, label, own in _by_cell(entrants):
        most = _budget_of(entrants, over, problem)
        found.append(
            Standing(
                over=over, budget=most, problem=problem, label=label, runs=len(own),
                speedup=_spread(median_interval([speedup_at(one, over, most) for one in own]), len(own)),
                best_ms=_spread(median_interval([best_at(one, over, most) for one in own]), len(own)),
            )
        )  # fmt: skip
    return found


def _duels(entrants: Sequence[Entrant], over: Over) -> list[Duel]:
    places = {(one.label, one.problem, one.seed): one for one in entrants}
    kind = entrants[0].kind
    found = []
    for label, other in combinations(sorted({one.label for one in entrants}), 2):
        strata: list[list[float]] = []
        for problem in sorted({one.problem for one in entrants}):
            most = _budget_of(entrants, over, problem)
            pairs = [
                (one, places[other, problem, one.seed])
                for one in entrants
                if (one.label, one.problem) == (label, problem) and (other, problem, one.seed) in places
            ]
            if pairs:
                strata.append([log(best_at(one, over, most) / best_at(two, over, most)) for one, two in pairs])
        if strata:
            found.append(_duel(over, label, other, strata, kind))
    return found


def _duel(over: Over, label: str, other: str, strata: Sequence[Sequence[float]], kind: Kind) -> Duel:
    """Count the wins among the logarithms of the ratios of best times, by problem."""
    edge = log(1.0 + NOISE) if kind == "measured" else 0.0
    scores = [[1.0 if one < -edge else 0.0 if one > edge else 0.5 for one in own] for own in strata]
    flat = [score for own in scores for score in own]
    interval = mean_interval(strata)
    ratio = Interval(*map(exp, interval))
    answer: Answer = "no difference seen"
    if len(flat) < FEWEST:
        answer = "too few pairs to say"
    elif 1.0 not in ratio and abs(log(ratio.middle)) > edge:
        near = kind == "estimated" and is_within_error(ratio.middle)
        if ratio.high < 1:
            answer = "faster, within the error of estimates" if near else "faster"
        else:
            answer = "slower, within the error of estimates" if near else "slower"
    return Duel(
        over=over, label=label, other=other, pairs=len(flat), problems=len(strata), wins=flat.count(1.0),
        ties=flat.count(0.5), losses=flat.count(0.0), win_rate=_spread(mean_interval(scores), len(flat)),
        ratio=_spread(ratio, len(flat)), answer=answer,
    )  # fmt: skip


def _curves(entrants: Sequence[Entrant], over: Over) -> list[CurvePoint]:
    found = []
    for problem, label, own in _by_cell(entrants):
        most = _budget_of(entrants, over, problem)
        for spent in curve_places([one for one in entrants if one.problem == problem], over, most):
            speedups = [speedup_at(one, over, spent) for one in own]
            low, high = np.quantile(speedups, [0.25, 0.75])
            found.append(
                CurvePoint(
                    over=over, problem=problem, label=label, spent=spent, speedup=median(speedups), low=float(low),
                    high=float(high),
                )
            )  # fmt: skip
    return found


def _spread(interval: Interval, samples: int) -> Spread:
    alone = samples < 2
    return Spread(middle=interval.middle, low=None if alone else interval.low, high=None if alone else interval.high)


def overall(comparison: Comparison, label: str, over: Over) -> float | None:
    """Return the geometric mean of a strategy's median speedups over the problems that all strategies ran on.

    None where there is no such problem.
    """
    ran = {(one.problem, one.label) for one in comparison.standings}
    shared = [name for name in comparison.problems if all((name, other) in ran for other in comparison.labels)]
    own = [
        one.speedup.middle
        for one in comparison.standings
        if (one.label, one.over) == (label, over) and one.problem in shared
    ]
    return exp(fmean(map(log, own))) if own else None
