"""Selection: `truncate(diversify(dedup(pool)), width)`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import zip_longest
from typing import TypeVar

from kopt.model.trial import RankRow, SelectionRow, TechniqueRow
from kopt.search.order import by_time, dedup

T = TypeVar("T")


def diversify(pool: Sequence[RankRow], cluster_of: Mapping[str, str]) -> list[RankRow]:
    """Round-robin by depth: the fastest of every cluster in order of time, then every second fastest, and so on.

    Args:
        pool: fastest first.
        cluster_of: kernel digest to cluster; a kernel that is missing is its own cluster.
    """
    clusters: dict[str, list[RankRow]] = {}
    for row in pool:
        clusters.setdefault(cluster_of.get(row.kernel, row.kernel), []).append(row)
    passes = zip_longest(*clusters.values())
    return [row for one in passes for row in by_time([row for row in one if row is not None])]


def truncate(pool: Sequence[T], width: int) -> list[T]:
    """The first `width`."""
    return list(pool[:width])


def select(
    pool: Sequence[RankRow], techniques: Sequence[TechniqueRow], *, width: int, clustering: bool
) -> list[SelectionRow]:
    """The parents of the next round, in order of selection."""
    known = {row.kernel: row for row in techniques}
    unique = dedup(pool)
    ordered = diversify(unique, {k: row.cluster for k, row in known.items()}) if clustering else unique
    return [_selected(rank, row, known.get(row.kernel)) for rank, row in enumerate(truncate(ordered, width))]


def _selected(rank: int, row: RankRow, technique: TechniqueRow | None) -> SelectionRow:
    return SelectionRow(
        rank=rank,
        **row.model_dump(exclude={"position"}),
        techniques=technique.techniques if technique else (),
        cluster=technique.cluster if technique else row.kernel,
    )
