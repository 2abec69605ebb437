"""Strategy `beam`: keep the fastest kernels as parents."""

from __future__ import annotations

from collections.abc import Sequence

from kopt.search.order import dedup
from kopt.search.strategy import Archive, PoolMember, Strategy


class Beam(Strategy[Archive]):
    """Keep the fastest kernels of the pool."""

    archive = Archive

    def choose(self, pool: Sequence[PoolMember], archive: Archive, width: int) -> tuple[list[PoolMember], Archive]:
        """Choose the fastest, equal kernels merged."""
        return dedup(pool)[:width], archive


STRATEGY = Beam()
