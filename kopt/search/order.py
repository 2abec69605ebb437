"""The order of kernels: by age, and by time with ties broken by age; and which of equal ones stay.

Apart from selection, so that an edit of selection does not rerun what only orders.
"""

from __future__ import annotations

from collections.abc import Sequence

from kopt.model.trial import RankRow, behaviour


def by_time(pool: Sequence[RankRow]) -> list[RankRow]:
    """Fastest first; equal times in the order in which the kernels came."""
    return sorted(pool, key=lambda row: (row.time_ms, age(row.origin), row.kernel))


def dedup(pool: Sequence[RankRow]) -> list[RankRow]:
    """One row per fingerprint, fastest first; a kernel without a fingerprint is its own singleton.

    Of equal kernels the one that came first (round, attempt, slot) stays.
    """
    first: dict[str, RankRow] = {}
    for row in sorted(pool, key=lambda row: age(row.origin)):
        first.setdefault(behaviour(row), row)
    return by_time(list(first.values()))


def age(name: str) -> tuple[int, int, int]:
    """Round, attempt and slot of a candidate's name (`r2a0s17`), which is the order in which candidates came."""
    round, _, rest = name.removeprefix("r").partition("a")
    attempt, _, slot = rest.partition("s")
    return int(round), int(attempt), int(slot)
