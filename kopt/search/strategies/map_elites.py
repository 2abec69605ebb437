"""Strategy `map_elites`: keep the fastest kernel of every niche, and expand the niches that were expanded least.

MAP-Elites (Mouret and Clune 2015) over technique groups: a kernel's niche is how many techniques of memory, of
arithmetic and of the grid it uses, each counted up to `MOST`.  A niche keeps its fastest kernel, its elite, for the
whole search, so that an elite which falls behind for some rounds is still expanded later.  Where the method draws
niches at random, this one takes those whose elites were expanded least, the fastest first, so that a search can be
repeated.
"""

from __future__ import annotations

from collections.abc import Sequence

from kopt.model.base import Value
from kopt.model.trial import behaviour
from kopt.search.order import age, by_time, dedup
from kopt.search.strategy import Archive, PoolMember, Strategy

MEMORY = frozenset({
    "software_pipelining", "swizzled_load", "vectorized_load", "masked_access", "shared_memory_tiling",
    "async_copy_tma",
})  # fmt: skip
ARITHMETIC = frozenset({
    "tensor_cores", "register_tiling", "precision_split", "epilogue_fusion", "loop_unrolling", "split_k_reduce",
    "atomic_reduction",
})  # fmt: skip
"""Techniques by group; those that neither names, of `config/techniques.yaml` and of other taxonomies, are of the
grid."""
MOST = 3
"""Techniques of a group that count, so that there are at most 64 niches."""

Niche = tuple[int, int, int]
"""Techniques of memory, of arithmetic, and of the grid."""


class Elite(Value):
    """The fastest kernel of a niche."""

    kernel: PoolMember
    expanded: int = 0
    """Rounds that expanded it."""


class Elites(Archive):
    """The elites of all niches, fastest first."""

    elites: tuple[Elite, ...] = ()


class MapElites(Strategy[Elites]):
    """Expand the fastest kernel, and the elites of the niches that were expanded least."""

    archive = Elites

    def choose(self, pool: Sequence[PoolMember], archive: Elites, width: int) -> tuple[list[PoolMember], Elites]:
        """Choose the fastest kernel, then elites, those expanded least first, then the fastest others of the pool."""
        members = dedup(pool)
        elites = updated(archive.elites, members)
        rested = sorted(elites, key=lambda one: (one.expanded, one.kernel.time_ms, age(one.kernel.origin)))
        wanted: dict[str, PoolMember] = {}
        for member in (members[0], *(one.kernel for one in rested), *members):
            wanted.setdefault(behaviour(member), member)
        parents = by_time(list(wanted.values())[:width])
        chosen = {parent.kernel for parent in parents}
        kept = [one.model_copy(update={"expanded": one.expanded + (one.kernel.kernel in chosen)}) for one in elites]
        return parents, Elites(elites=tuple(kept))


def niche(member: PoolMember) -> Niche:
    """Return the niche of a kernel."""
    used = set(member.techniques)
    groups = (used & MEMORY, used & ARITHMETIC, used - MEMORY - ARITHMETIC)
    memory, arithmetic, grid = (min(len(group), MOST) for group in groups)
    return memory, arithmetic, grid


def updated(elites: Sequence[Elite], members: Sequence[PoolMember]) -> list[Elite]:
    """Return the elites after a round, fastest first; a kernel that is in the pool counts with its time there."""
    now = {member.kernel: member for member in members}
    expanded = {one.kernel.kernel: one.expanded for one in elites}
    known = [now.get(one.kernel.kernel, one.kernel) for one in elites]
    best: dict[Niche, PoolMember] = {}
    for member in dedup([*known, *members]):
        best.setdefault(niche(member), member)
    return [Elite(kernel=one, expanded=expanded.get(one.kernel, 0)) for one in by_time(list(best.values()))]


STRATEGY = MapElites()
