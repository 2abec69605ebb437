"""Order kernels by age, or by time with ties broken by age, and drop all but the first of equal kernels.

Apart from selection, so that an edit of selection does not rerun the ranking.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

from kopt.model.trial import TimedKernel, behaviour

K = TypeVar("K", bound=TimedKernel)


def by_time(pool: Sequence[K]) -> list[K]:
    """Sort kernels, fastest first; equal times in the order in which the kernels came."""
    return sorted(pool, key=lambda row: (row.time_ms, age(row.origin), row.kernel))


def dedup(pool: Sequence[K]) -> list[K]:
    """Keep one kernel per fingerprint, fastest first; a kernel without a fingerprint equals no other.

    Of equal kernels the one that came first (round, attempt, slot) stays.
    """
    first: dict[str, K] = {}
    for row in sorted(pool, key=lambda row: age(row.origin)):
        first.setdefault(behaviour(row), row)
    return by_time(list(first.values()))


def age(name: str) -> tuple[int, int, int]:
    """Read round, attempt and slot from a candidate's name (`r2a0s17`): the order in which candidates came."""
    round, _, rest = name.removeprefix("r").partition("a")
    attempt, _, slot = rest.partition("s")
    return int(round), int(attempt), int(slot)
