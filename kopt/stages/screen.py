"""Stage `screen`: decide by estimates which kernels of an attempt a GPU need not judge."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from kopt import artifact
from kopt.model.base import Value
from kopt.model.trial import BuildRow, EvaluationRow, ScreenRow, SelectionRow
from kopt.search.screen import bound_of, screen

MOST = 64
"""Most measured kernels that set the bound: the last ones."""


class ScreenSettings(Value):
    """Settings of the rule screen."""

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
