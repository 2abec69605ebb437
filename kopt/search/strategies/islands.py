"""Strategy `islands`: let small groups of parents develop apart, and send a kernel from each to the next now and then.

An island holds about as many parents as there are islands.  Parents come from the kernels of their island alone, and a
child belongs to its parent's island.  After every `INTERVAL` rounds the second fastest kernel of each island moves to
the next one, round a ring (Whitley, Rana and Heckendorn 1999); the fastest stays.  The seed kernel founds all islands:
its children are dealt out by their slots.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import isqrt

from pydantic import Field

from kopt.errors import ConfigError
from kopt.search.expand import FanOut
from kopt.search.order import age, by_time, dedup
from kopt.search.strategy import Archive, Asked, PoolMember, Strategy

INTERVAL = 2
"""Rounds from one migration to the next."""


class Homes(Archive):
    """The islands of kernels."""

    islands: dict[str, int] = Field(default_factory=dict)
    """Island of each kernel of the last pool that has one, by the kernel's digest."""
    rounds: int = 0
    """Rounds since the islands were founded."""


class Islands(Strategy[Homes]):
    """Choose the fastest kernels of every island."""

    archive = Homes

    def check(self, fan_out: FanOut) -> None:
        """Refuse a single parent."""
        super().check(fan_out)
        if fan_out.width < 2:
            raise ConfigError("strategy islands: candidate_pool_size must be at least 2, better 4")

    def learn(self, asked: Sequence[Asked], pool: Sequence[PoolMember], archive: Homes) -> Homes:
        """Give each child the island of its parent."""
        parent_of = {one.origin: one.parent for one in asked}
        born = {one.kernel: archive.islands.get(parent_of.get(one.origin, "")) for one in pool}
        new = {kernel: island for kernel, island in born.items() if island is not None}
        return archive.model_copy(update={"islands": new | archive.islands})

    def choose(self, pool: Sequence[PoolMember], archive: Homes, width: int) -> tuple[list[PoolMember], Homes]:
        """Choose equally many kernels of every island, its fastest; the fastest others where an island has too few."""
        members = dedup(pool)
        if len(members) == 1:
            return members, archive
        count = max(min(width, 2), isqrt(width))
        homes = {one.kernel: archive.islands.get(one.kernel, age(one.origin)[2]) % count for one in members}
        rounds = archive.rounds + 1
        if rounds % INTERVAL == 0:
            homes |= migrants(members, homes, count)
        parents = settled(members, homes, count, width)
        return by_time(list(parents)), Homes(islands={one.kernel: parents[one] for one in parents}, rounds=rounds)


def migrants(members: Sequence[PoolMember], homes: Mapping[str, int], count: int) -> dict[str, int]:
    """Return the new islands of the kernels that move: of each island the second fastest.

    Args:
        members: fastest first.
        homes: island of each kernel.
        count: number of islands.
    """
    of_island = [[one.kernel for one in members if homes[one.kernel] == island] for island in range(count)]
    return {own[1]: (island + 1) % count for island, own in enumerate(of_island) if len(own) > 1}


def settled(members: Sequence[PoolMember], homes: Mapping[str, int], count: int, width: int) -> dict[PoolMember, int]:
    """Return the parents with their islands: of each island its share of the width, then the fastest others.

    The fastest kernel's island comes first, so that a width that does not divide gives that island the odd parent.
    A kernel that fills the place of another island moves there.

    Args:
        members: fastest first.
        homes: island of each kernel.
        count: number of islands.
        width: most parents.
    """
    first = homes[members[0].kernel]
    order = [(first + step) % count for step in range(count)]
    places = [order[place % count] for place in range(width)]
    parents: dict[PoolMember, int] = {}
    for island in order:
        own = [one for one in members if homes[one.kernel] == island]
        parents |= dict.fromkeys(own[: places.count(island)], island)
    for island in order:
        lacking = places.count(island) - list(parents.values()).count(island)
        spare = [one for one in members if one not in parents]
        parents |= dict.fromkeys(spare[:lacking], island)
    return parents


STRATEGY = Islands()
