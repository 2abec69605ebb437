"""Turn a run's experience into lessons for later runs, and the lessons of several runs into a start for a new one."""

from __future__ import annotations

import math
from collections.abc import Mapping

from kopt.model.proposers import Lesson, Lessons
from kopt.rewrite.experience import USED, WASTED, Effect, Experience, spread, unknown

SAME_PROBLEM, SAME_KIND, OTHER = (0.02, 0.5), (0.06, 0.3), (0.15, 0.1)
"""How lessons carry over to the same problem, to one of the same kind, and to others: the standard deviation between
the effects there and here, and the part of its candidates for which a wasted one counts."""


def lessons_of(experience: Experience) -> tuple[Lesson, ...]:
    """Return what a run shows of each transformation that it tried, apart from what it knew before."""
    effects = Experience(experience.tried).effects
    return tuple(
        Lesson(
            move=arm, mean=effect.mean, deviation=effect.deviation, wasted=effect.wasted - WASTED,
            tried=effect.tried - WASTED - USED,
        )
        for arm, effect in sorted(effects.items())
    )  # fmt: skip


def start_of(*lessons: Lessons) -> Mapping[str, Effect]:
    """Combine the lessons of several runs into what a new run knows of each transformation.

    Effects are taken for normally distributed around those of other problems.

    Args:
        lessons: what the new run takes along; nothing is known without.
    """
    return {
        arm: _combined(arm, each)
        for each in lessons
        for arm in sorted({lesson.move for run in each.runs for lesson in run.lessons})
    }


def _combined(arm: str, lessons: Lessons) -> Effect:
    start = unknown(arm)
    precision, moment = [1 / start.deviation**2], [0.0]
    wasted, tried = [start.wasted], [start.tried]
    for run in lessons.runs:
        alike = SAME_KIND if run.kind == lessons.kind else OTHER
        unlike, part = SAME_PROBLEM if run.problem == lessons.problem else alike
        for lesson in run.lessons:
            if lesson.move != arm:
                continue
            wasted.append(part * lesson.wasted)
            tried.append(part * lesson.tried)
            told = 1 / lesson.deviation**2 - 1 / spread(arm) ** 2
            if told > 0:
                mean = lesson.mean / lesson.deviation**2 / told
                carried = 1 / (1 / told + unlike**2)
                precision.append(carried)
                moment.append(carried * mean)
    known = math.fsum(precision)
    return Effect(math.fsum(moment) / known, 1 / math.sqrt(known), math.fsum(wasted), math.fsum(tried))
