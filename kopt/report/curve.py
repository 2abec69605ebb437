"""Compute the geometry of the best-so-far curve: rounds to the right, time upwards on a logarithmic scale.

The coordinates are for an SVG that the template draws with the page's own colours, so that light, dark and print each
get theirs, and equal records give equal bytes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from kopt.model.trial import RoundSummary, Trial
from kopt.report.tables import correct_trials

WIDTH, HEIGHT = 880, 420
LEFT, RIGHT, TOP, BOTTOM = 64, 792, 18, 372

SLOWEST = 2.0
"""The frame ends at this many times the seed's time, so that one very slow kernel does not flatten all others."""

NEAR = 5.0
"""Ratio of the frame's ends up to which ticks are evenly spaced; above it they are 1, 2 and 5 of every decade, at least
two of which lie in a frame as wide as this."""

SPREAD = 0.36
"""Largest distance of a round's dots from its tick, in rounds; the dots lie in order of slot."""


class Tick(NamedTuple):
    """A grid line and its label."""

    at: float
    label: str


class Dot(NamedTuple):
    """A correct candidate as a mark."""

    x: float
    y: float
    style: int
    """Index of its model's colour and shape."""
    trial: Trial
    clipped: bool
    """Whether it is slower than the frame and drawn at the frame's upper edge."""


class Level(NamedTuple):
    """A horizontal line: the seed's time or the roofline."""

    y: float
    ms: float


class Curve(NamedTuple):
    """Everything that the figure draws."""

    dots: tuple[Dot, ...]
    best: str
    """SVG path of the best time so far, with a step at every round."""
    end: tuple[float, float]
    """Where that path ends: x and y."""
    best_ms: float
    rounds: tuple[Tick, ...]
    times: tuple[Tick, ...]
    seed: Level
    roofline: Level
    clipped: int


class _Scale(NamedTuple):
    rounds: int
    low: float
    high: float

    def x(self, round: float) -> float:
        return LEFT + (RIGHT - LEFT) * (round + 0.5) / (self.rounds + 1)

    def y(self, ms: float) -> float:
        share = math.log(ms / self.low) / math.log(self.high / self.low)
        return BOTTOM - (BOTTOM - TOP) * min(max(share, 0.0), 1.0)


def curve(rounds: Sequence[RoundSummary], trials: Sequence[Trial], styles: dict[str, int]) -> Curve:
    """Compute the curve.

    Args:
        rounds: summaries from round 0.
        trials: all trials of the run; those that passed become dots.
        styles: index of every model's colour and shape.
    """
    correct = [t for t in correct_trials(trials) if t.round > 0]
    last = rounds[-1]
    roofline = last.best_ms * last.roofline_share
    scale = _scale(rounds, [t.time_ms for t in correct if t.time_ms is not None], roofline)
    slots = _slots(rounds, trials)
    dots = [_dot(trial, scale, styles.get(trial.model, 0), slots) for trial in correct]
    return Curve(
        dots=tuple(sorted(dots, key=lambda dot: (dot.trial.round, dot.trial.slot, dot.trial.attempt))),
        best=_steps([(scale.x(s.round - 0.5), scale.x(s.round + 0.5), scale.y(s.best_ms)) for s in rounds]),
        end=(round(scale.x(last.round + 0.5), 1), round(scale.y(last.best_ms), 1)),
        best_ms=last.best_ms,
        rounds=tuple(Tick(round(scale.x(s.round), 1), str(s.round)) for s in rounds),
        times=tuple(Tick(round(scale.y(ms), 1), f"{ms:g}") for ms in ticks(scale.low, scale.high)),
        seed=Level(round(scale.y(last.seed_ms), 1), last.seed_ms),
        roofline=Level(round(scale.y(roofline), 1), roofline),
        clipped=sum(dot.clipped for dot in dots),
    )


def ticks(low: float, high: float) -> list[float]:
    """Choose round numbers between two positive times: about six evenly spaced ones, or 1, 2, 5 of every decade."""
    if high / low > NEAR:
        decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
        return [ms for decade in decades for step in (1, 2, 5) if low <= (ms := _tidy(step * 10.0**decade)) <= high]
    raw = (high - low) / 6
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(power * nice for nice in (1, 2, 5, 10) if power * nice >= raw)
    return [_tidy(step * count) for count in range(math.ceil(low / step), math.floor(high / step) + 1)]


def _tidy(ms: float) -> float:
    return float(f"{ms:.6g}")


def _scale(rounds: Sequence[RoundSummary], times: Sequence[float], roofline: float) -> _Scale:
    seed = rounds[-1].seed_ms
    low = min([roofline, seed, *(s.best_ms for s in rounds)])
    high = max([seed, *(min(time, SLOWEST * seed) for time in times)])
    margin = max((high / low) ** 0.06, 1.01)
    return _Scale(rounds[-1].round, low / margin, high * margin)


def _slots(rounds: Sequence[RoundSummary], trials: Sequence[Trial]) -> dict[int, int]:
    """Count the slots of each round, at least one."""
    counts = {summary.round: max(summary.slots, 1) for summary in rounds}
    for trial in trials:
        counts[trial.round] = max(counts.get(trial.round, 1), trial.slot + 1)
    return counts


def _dot(trial: Trial, scale: _Scale, style: int, slots: dict[int, int]) -> Dot:
    assert trial.time_ms is not None
    offset = SPREAD * (2 * (trial.slot + 0.5) / slots[trial.round] - 1)
    x, y = scale.x(trial.round + offset), scale.y(trial.time_ms)
    return Dot(round(x, 1), round(y, 1), style, trial, trial.time_ms > scale.high)


def _steps(levels: Sequence[tuple[float, float, float]]) -> str:
    parts = [f"{'M' if not place else 'L'}{x0:.1f} {y:.1f}H{x1:.1f}" for place, (x0, x1, y) in enumerate(levels)]
    return "".join(parts)
