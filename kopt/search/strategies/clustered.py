"""Strategy `clustered`: take parents in turn from the clusters of kernels that use the same techniques."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import zip_longest

from kopt.search.order import by_time, dedup
from kopt.search.strategy import Archive, PoolMember, Strategy


class Clustered(Strategy[Archive]):
    """Keep the pool diverse: round-robin over clusters, fastest first."""

    archive = Archive

    def choose(self, pool: Sequence[PoolMember], archive: Archive, width: int) -> tuple[list[PoolMember], Archive]:
        """Choose the fastest kernel of every cluster, then every second fastest, until there are `width`."""
        return diversify(dedup(pool))[:width], archive


def diversify(pool: Sequence[PoolMember]) -> list[PoolMember]:
    """Order a pool round-robin by depth: the fastest of every cluster by time, then every second fastest, and so on.

    Args:
        pool: fastest first.
    """
    clusters: dict[str, list[PoolMember]] = {}
    for member in pool:
        clusters.setdefault(member.cluster, []).append(member)
    depths = zip_longest(*clusters.values())
    return [member for depth in depths for member in by_time([member for member in depth if member is not None])]


STRATEGY = Clustered()
