"""Turn a run's experience into what later runs take along, and that of several runs into a start for a new one."""

from __future__ import annotations

import math
from collections.abc import Mapping

from kopt.model.proposers import EarlierRuns, MoveEffect
from kopt.rewrite.experience import USED, WASTED, Effect, Experience, spread, unknown

SAME_PROBLEM, SAME_KIND, OTHER = (0.02, 0.5), (0.06, 0.3), (0.15, 0.1)
"""How effects carry over to the same problem, to one of the same kind, and to others: the standard deviation between
the effects there and here, and the part of its candidates for which a wasted one counts."""


def effects_of(experience: Experience) -> tuple[MoveEffect, ...]:
    """Return what a run shows of each transformation that it tried, apart from what it knew before."""
    effects = Experience(experience.tried).effects
    return tuple(
        MoveEffect(
            move=arm, mean=effect.mean, deviation=effect.deviation, wasted=effect.wasted - WASTED,
            tried=effect.tried - WASTED - USED,
        )
        for arm, effect in sorted(effects.items())
    )  # fmt: skip


def start_of(*earlier: EarlierRuns) -> Mapping[str, Effect]:
    """Combine the effects that several runs found into what a new run knows of each transformation.

    Effects are taken for normally distributed around those of other problems.

    Args:
        earlier: what the new run takes along; nothing is known without it.
    """
    return {
        arm: _combined(arm, each)
        for each in earlier
        for arm in sorted({effect.move for run in each.runs for effect in run.effects})
    }


def _combined(arm: str, earlier: EarlierRuns) -> Effect:
    start = unknown(arm)
    precision, moment = [1 / start.deviation**2], [0.0]
    wasted, tried = [start.wasted], [start.tried]
    for run in earlier.runs:
        alike = SAME_KIND if run.kind == earlier.kind else OTHER
        unlike, part = SAME_PROBLEM if run.problem == earlier.problem else alike
        for effect in run.effects:
            if effect.move != arm:
                continue
            wasted.append(part * effect.wasted)
            tried.append(part * effect.tried)
            told = 1 / effect.deviation**2 - 1 / spread(arm) ** 2
            if told > 0:
                mean = effect.mean / effect.deviation**2 / told
                carried = 1 / (1 / told + unlike**2)
                precision.append(carried)
                moment.append(carried * mean)
    known = math.fsum(precision)
    return Effect(math.fsum(moment) / known, 1 / math.sqrt(known), math.fsum(wasted), math.fsum(tried))
