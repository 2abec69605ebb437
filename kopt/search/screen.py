"""Leave kernels unjudged whose estimates are clearly above the best kernel's, by a bound that measured kernels set.

How wrong an estimate is depends much on the problem.  So only ratios to the best kernel count, and how wrong they can
be is read off the kernels that were measured before: the bound is the largest factor by which an estimate made a
measured kernel look slower than it was, times a margin.  A random share of the kernels beyond the bound is judged all
the same, which shows what the screen costs.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

from kopt import artifact
from kopt.model.base import Value
from kopt.model.trial import BuildRow, EvaluationRow, ScreenRow, SelectionRow

LEAST = 16
"""Fewest measured kernels that set a bound: with fewer, nothing is left unjudged."""
MARGIN = 1.25
"""Factor by which the bound lies above the largest error so far."""
SAMPLE = 0.1
"""Share of the kernels beyond the bound that is judged all the same, at least one kernel."""
MOST = 64
"""Most measured kernels that set the bound: the last ones."""


class ScreenSettings(Value):
    """Settings of the rule screen."""

    backend: str
    """Name of the backend that estimates."""
    seed: int
    """Seed of the random sample."""


def screen_kernels(
    rows: Sequence[BuildRow],
    measured: Sequence[EvaluationRow],
    parents: Sequence[SelectionRow],
    settings: ScreenSettings,
    *,
    estimate: Callable[[str], float],
) -> list[ScreenRow]:
    """Decide which of an attempt's unique kernels are judged.

    Args:
        rows: builds of the attempt.
        measured: evaluations of earlier rounds.
        parents: parents of the round; the fastest is the kernel to beat.
        settings: the rule's settings.
        estimate: estimates the time of the build whose key has a digest, ms.
    """
    best = min(parents, key=lambda row: row.time_ms)
    best_ms = estimate(best.build)
    timed = [row for row in measured if row.time_ms is not None and not row.estimated and row.kernel != best.kernel]
    pairs = [(estimate(row.build) / best_ms, (row.time_ms or 0.0) / best.time_ms) for row in timed[-MOST:]]
    ratios = {row.slot: estimate(row.build) / best_ms for row in rows if row.chunk >= 0}
    return screen(ratios, bound_of(pairs), artifact.digest([settings.seed, [row.kernel for row in rows]]))


def bound_of(measured: Sequence[tuple[float, float]], least: int = LEAST) -> float | None:
    """Return the bound for ratios of estimates to the best kernel's; None when too few kernels were measured.

    Args:
        measured: estimated and measured time of each kernel relative to the best kernel's.
        least: fewest kernels.
    """
    if len(measured) < least:
        return None
    return MARGIN * max(1.0, *(estimated / ms for estimated, ms in measured))


def screen(ratios: Mapping[int, float], bound: float | None, seed: str) -> list[ScreenRow]:
    """Decide which kernels are judged.

    Args:
        ratios: estimated time of each kernel relative to the best kernel's, by slot.
        bound: see `bound_of`.
        seed: text that draws the random sample.
    """
    limit = math.inf if bound is None else bound
    beyond = sorted((slot for slot in ratios if ratios[slot] > limit), key=lambda slot: artifact.digest([seed, slot]))
    sampled = set(beyond[: math.ceil(SAMPLE * len(beyond))])
    return [
        ScreenRow(
            slot=slot, ratio=ratios[slot], bound=bound,
            fate="judged" if slot not in beyond else "sampled" if slot in sampled else "skipped",
        )
        for slot in sorted(ratios)
    ]  # fmt: skip


def screen_line(rows: Sequence[ScreenRow], evaluations: Sequence[EvaluationRow], best_ms: float) -> str:
    """Say what the screen did to some kernels, and what it cost by the sample; empty where it left all to the judge.

    Args:
        rows: the screen's decisions.
        evaluations: the kernels, judged or not.
        best_ms: time of the best kernel before, ms.
    """
    fates = {row.slot: row for row in rows}
    here = [fates[one.slot] for one in evaluations if one.slot in fates]
    skipped = [row for row in here if row.fate == "skipped"]
    sampled = {row.slot for row in here if row.fate == "sampled"}
    if not skipped and not sampled:
        return ""
    bound = next(row.bound for row in here if row.fate != "judged") or 0.0
    times = [one.time_ms for one in evaluations if one.slot in sampled and one.time_ms is not None]
    fastest = f"the fastest takes {min(times) / best_ms:.2f}x the best kernel's time" if times else "none is right"
    regret = max(0.0, 1 - min(times) / best_ms) if times else 0.0
    return (
        f"screen: {len(skipped)} of {len(here)} kernels are not judged, estimated at more than {bound:.2f}x the best; "
        f"{len(sampled)} such kernels are judged all the same: {fastest}, regret {regret:.1%}"
    )
