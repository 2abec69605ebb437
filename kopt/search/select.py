"""Select the next round's parents: give the pool with its techniques to the strategy, and rank its choice."""

from __future__ import annotations

from collections.abc import Sequence

from kopt.model.trial import RankRow, SelectionRow, TechniqueRow
from kopt.search.strategy import A, Asked, PoolMember, Strategy


def select(
    pool: Sequence[RankRow], techniques: Sequence[TechniqueRow], strategy: Strategy[A], archive: A, width: int,
    asked: Sequence[Asked] = (),
) -> tuple[list[SelectionRow], A]:  # fmt: skip
    """Choose the parents of the next round, at most `width` of them in order of rank, and what to remember.

    Args:
        pool: the previous round's parents and its correct children.
        techniques: a row of each classified kernel of the pool.
        strategy: chooses.
        archive: the strategy's archive after the previous round.
        width: most parents.
        asked: the round's requests to proposers.
    """
    row_of = {row.kernel: row for row in techniques}
    members = [_member(row, row_of.get(row.kernel)) for row in pool]
    parents, archive = strategy.choose(members, strategy.learn(asked, members, archive), width)
    return [SelectionRow(rank=rank, **member.model_dump()) for rank, member in enumerate(parents)], archive


def _member(row: RankRow, technique: TechniqueRow | None) -> PoolMember:
    return PoolMember(
        **row.model_dump(exclude={"position"}),
        techniques=technique.techniques if technique else (),
        cluster=technique.cluster if technique else row.kernel,
    )
