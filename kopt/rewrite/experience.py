"""Learn which transformations pay, from the candidates that earlier rounds judged.

A candidate's gain is the logarithm of its parent's time over its own.  Gains of stacked transformations add up, as
factors of times multiply, so that a linear model shares the credit: each transformation has an effect, unknown before
the first candidate, and known better with each.  A recipe's steps have effects of their own.  A transformation that
the parent's lineage has already is an arm of its own: what paid once seldom pays twice.  Candidates that fail, or
whose compiled code is their parent's, are counted apart as waste.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from random import Random
from typing import Literal, NamedTuple

from kopt.artifact import digest
from kopt.model.base import Value
from kopt.model.proposers import NEAR_BEST
from kopt.rewrite.gaussian import cholesky, solve_lower, solve_upper

SPREAD = 0.10
"""Standard deviation of the effect of a transformation, as a logarithm of time, before anything is known of it."""
SPREAD_AGAIN = 0.05
"""The same of a transformation that the lineage has already."""
NOISE = 0.07
"""Standard deviation of a gain that the effects do not explain: sites and values differ, and times are noisy."""
SCREENED_GAIN = -0.25
"""Gain that stands for that of a candidate whose estimate was too slow for it to be judged."""
SCALE = 0.04
"""Effect that changes the weight of a transformation by a factor of e."""
LARGEST_FACTOR, SMALLEST_FACTOR = 30.0, 0.01
"""Largest and smallest factor on a weight: what lost is drawn seldom, not never."""
NUMERIC = frozenset({
    "tile_size", "tile_and_warps", "tile_shape", "warps", "stages", "register_limit", "split_width", "persistent_count",
    "group_size",
})  # fmt: skip
"""Transformations that change numbers alone."""
LEFT_TO_TUNER = 0.03
"""Factor on the weight of a transformation of numbers for a fast parent, whose numbers `kopt.rewrite.tune` sets."""
PERSISTENT = frozenset({"persistent_grid", "pipelined_rows", "flat_tiles", "stream_k"})
"""Transformations after which a fixed number of programs walk over the work: those not tried count as those tried."""
WASTED, USED = 0.5, 1.5
"""Candidates of a transformation that count as wasted and as not wasted before the first."""

Outcome = Literal["passed", "failed", "same", "screened"]
"""What became of a candidate; `same`: it passed, and its compiled code is the parent's."""


class Tried(Value):
    """A candidate of an earlier round and what became of it."""

    kernel: str
    """Digest of the source."""
    parent: str
    """Digest of the parent's source; empty for the seed."""
    moves: tuple[str, ...] = ()
    """Transformations that made the candidate of its parent; none where no rewriter made it."""
    sketch: str = ""
    """Digest of the source without its numbers (`kopt.rewrite.tunables`); empty where it was not read."""
    numbers: tuple[str, ...] = ()
    """The numbers, as texts `name=value`."""
    outcome: Outcome
    time_ms: float | None = None
    """Time, ms; None for a candidate that did not pass."""
    gain: float | None = None
    """Logarithm of the parent's time over the candidate's; None where one of the two has no time."""


class Effect(NamedTuple):
    """What is known of the effect of a transformation on the gain."""

    mean: float
    deviation: float
    """Standard deviation of what is known."""
    wasted: float
    """Candidates that failed or did nothing; a stack of several counts as a part of each."""
    tried: float
    """Candidates in all, counted likewise."""


def spread(arm: str) -> float:
    """Return the standard deviation of an arm's effect before anything is known of it."""
    return SPREAD_AGAIN if arm.endswith("+") else SPREAD


def unknown(arm: str) -> Effect:
    """Return what is known of an arm that was never tried."""
    return Effect(0.0, spread(arm), WASTED, WASTED + USED)


class Factor(NamedTuple):
    """What was learned about the weight of a transformation."""

    value: float
    """Factor on the weight."""
    known: float
    """How much of what there is to know of the effect is known, 0 to 1: the transformation's own weight, which is a
    guess of the effect, counts the less."""

    def on(self, weight: float) -> float:
        """Return the weight that a transformation gets in place of its own weight."""
        return float(weight ** (1 - self.known) * self.value)


@dataclass(frozen=True)
class Experience:
    """What the candidates of earlier rounds say about transformations."""

    tried: tuple[Tried, ...] = ()
    before: Mapping[str, Effect] = field(default_factory=dict)
    """What earlier runs say of arms (`kopt.rewrite.earlier_runs`)."""

    @cached_property
    def digest(self) -> str:
        """Digest of all candidates and of what earlier runs say, for keys."""
        before = [[arm, *effect] for arm, effect in sorted(self.before.items())]
        return digest([[each.model_dump(mode="json") for each in self.tried], before])

    @cached_property
    def by_kernel(self) -> Mapping[str, Tried]:
        """The first candidate of each source."""
        return {each.kernel: each for each in reversed(self.tried)}

    def lineage(self, kernel: str) -> frozenset[str]:
        """Name the transformations that led from the seed to a kernel."""
        moves: set[str] = set()
        passed: set[str] = set()
        while kernel in self.by_kernel and kernel not in passed:
            passed.add(kernel)
            moves.update(self.by_kernel[kernel].moves)
            kernel = self.by_kernel[kernel].parent
        return frozenset(moves)

    @cached_property
    def effects(self) -> Mapping[str, Effect]:
        """What is known of each arm: a transformation, with a `+` where the lineage has it already."""
        rows = [(self._arms(each), each) for each in self.tried if each.moves]
        arms = sorted({*self.before, *(arm for names, _ in rows for arm in names)})
        seen = [(names, gain) for names, each in rows if (gain := _gain(each)) is not None]
        start = [self.before.get(arm) or unknown(arm) for arm in arms]
        means, deviations = _regress(arms, start, seen)
        wasted = {arm: effect.wasted for arm, effect in zip(arms, start, strict=True)}
        count = {arm: effect.tried for arm, effect in zip(arms, start, strict=True)}
        for names, each in rows:
            for arm in names:
                wasted[arm] += (each.outcome in ("failed", "same")) / len(names)
                count[arm] += 1 / len(names)
        return {
            arm: Effect(mean, deviation, wasted[arm], count[arm])
            for arm, mean, deviation in zip(arms, means, deviations, strict=True)
        }

    def factors(self, parent: str, seed: int, *, refined: bool = True) -> Mapping[str, Factor]:
        """Draw a factor on the weight of every transformation that was tried, by Thompson's sampling.

        Those that change numbers alone are left to the tuner where the parent is fast.

        Args:
            parent: digest of the source to change.
            seed: seed of the draws.
            refined: whether other slots refine fast parents, so that changes of numbers are left to those slots.
        """
        rng, lineage = Random(digest(["factors", parent, seed])), self.lineage(parent)
        drawn = dict[str, Factor]()
        for arm, effect in self.effects.items():
            name, again = arm.removesuffix("+"), arm.endswith("+")
            sample = rng.gauss(effect.mean, effect.deviation)
            if again == (name in lineage):
                known = 1 - (effect.deviation / spread(arm)) ** 2
                drawn[name] = Factor(_factor(sample, effect.wasted / effect.tried), max(0.0, known))
        alike = [drawn[name].value for name in PERSISTENT & drawn.keys()]
        if alike:
            drawn |= dict.fromkeys(PERSISTENT - drawn.keys(), Factor(min(alike), 0.0))
        return drawn | dict.fromkeys(NUMERIC if refined and self._is_fast(parent) else (), Factor(LEFT_TO_TUNER, 0.0))

    def _is_fast(self, parent: str) -> bool:
        """Return whether a kernel is one of the fastest that transformations have led to."""
        times = [each.time_ms for each in self.tried if each.time_ms is not None]
        own = self.by_kernel[parent].time_ms if parent in self.by_kernel else None
        return bool(self.lineage(parent)) and own is not None and own <= NEAR_BEST * min(times)

    def _arms(self, each: Tried) -> list[str]:
        lineage = self.lineage(each.parent)
        return sorted({f"{move}+" if move in lineage else move for move in each.moves})


def _gain(each: Tried) -> float | None:
    match each.outcome:
        case "same":
            return 0.0
        case "screened":
            return SCREENED_GAIN
    return None if each.gain is None else max(-1.0, min(1.0, each.gain))


def _factor(effect: float, wasted: float) -> float:
    """Turn an effect and a share of waste into a factor; a transformation of which nothing is known has about 1."""
    used = (1 - wasted) / (USED / (WASTED + USED))
    factor = math.exp(max(-5.0, min(4.0, effect / SCALE))) * used**2
    return max(SMALLEST_FACTOR, min(LARGEST_FACTOR, factor))


def _regress(
    arms: Sequence[str], start: Sequence[Effect], seen: Sequence[tuple[Sequence[str], float]]
) -> tuple[list[float], list[float]]:
    """Find means and standard deviations of the arms' effects, by Bayesian linear regression."""
    place = {arm: n for n, arm in enumerate(arms)}
    precision = [[1 / e.deviation**2 if i == j else 0.0 for j in range(i + 1)] for i, e in enumerate(start)]
    right = [effect.mean / effect.deviation**2 for effect in start]
    for names, gain in seen:
        for name in names:
            right[place[name]] += gain / NOISE**2
            for other in names:
                if place[other] <= place[name]:
                    precision[place[name]][place[other]] += 1 / NOISE**2
    factor = cholesky(precision)
    means = solve_upper(factor, solve_lower(factor, right))
    units = [[float(i == j) for j in range(len(arms))] for i in range(len(arms))]
    deviations = [math.sqrt(math.fsum(part**2 for part in solve_lower(factor, unit))) for unit in units]
    return means, deviations
