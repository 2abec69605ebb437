"""Score another strategy over the archive of a finished search: what it would have selected, as far as that is known.

Round by round the strategy chooses parents from a pool that holds what it would have had: its parents before, and the
children that the search recorded for these.  A parent that the search expanded i times has i sets of children on
record, used in their order.  Of a parent that the search never expanded, or not so often, nothing is known: its
children are missing, and from that round on the strategy may have found faster kernels than the archive shows.

What no archive can show: a proposer that sees other parents and other lessons may propose other kernels, and a strategy
that shares slots out otherwise (`bandit`) would have had more children of one parent and fewer of another.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from kopt.model.base import Value
from kopt.model.trial import RankRow, SelectionRow, TechniqueRow
from kopt.search.select import select
from kopt.search.strategy import A, Asked, Strategy


@dataclass(frozen=True)
class RecordedRound:
    """What a finished search recorded of one round."""

    pool: Sequence[RankRow]
    """Kernels that the round's selection chose from, with their times then."""
    techniques: Sequence[TechniqueRow]
    expanded: Sequence[str]
    """Kernel digests of the parents that the round expanded; none in round 0."""
    children: Mapping[str, Sequence[RankRow]]
    """Correct kernels that the round brought, by the digest of their parent; in round 0 the seed kernel, by ''."""


class Step(Value):
    """What a strategy would have had after one round."""

    round: int
    best_ms: float
    """Time of the fastest parent."""
    best: str
    """Name of its first candidate."""
    parents: tuple[str, ...]
    """Names of the parents for the next round, in order."""
    missing: tuple[str, ...]
    """Those of them whose children the archive does not have; none after the last round."""


class Counterfactual(Value):
    """A strategy, scored over an archive."""

    strategy: str
    width: int
    """Most parents of a round."""
    steps: tuple[Step, ...]
    """From round 0."""

    @property
    def best_ms(self) -> float:
        """Time of the fastest kernel at the end: the strategy may have found a faster one."""
        return self.steps[-1].best_ms

    @property
    def support(self) -> float:
        """Share of the expansions that the strategy would have made whose children are on record, 0 to 1."""
        asked = sum(len(step.parents) for step in self.steps[:-1])
        return 1 - sum(len(step.missing) for step in self.steps) / asked if asked else 1.0

    @property
    def known_to(self) -> int:
        """Last round up to which nothing is missing."""
        return next((step.round for step in self.steps if step.missing), self.steps[-1].round)


def counterfactual(name: str, strategy: Strategy[A], width: int, rounds: Sequence[RecordedRound]) -> Counterfactual:
    """Score a strategy over the recorded rounds of a search.

    Args:
        name: the strategy's.
        strategy: chooses parents; slots are shared out as they were.
        width: most parents of a round.
        rounds: from round 0.
    """
    expansions = _expansions(rounds)
    techniques = {row.kernel: row for recorded in rounds for row in recorded.techniques}
    archive, pool, used = strategy.archive(), list(rounds[0].pool), Counter[str]()
    steps: list[Step] = []
    asked: list[Asked] = []
    for number, recorded in enumerate(rounds):
        timed = {row.kernel: row for row in recorded.pool}
        pool = [timed.get(row.kernel, row) for row in pool]
        parents, archive = select(pool, list(techniques.values()), strategy, archive, width, asked)
        last = number == len(rounds) - 1
        missing = [row for row in parents if not last and used[row.kernel] >= len(expansions.get(row.kernel, ()))]
        best = min(parents, key=lambda row: row.time_ms)
        steps.append(
            Step(
                round=number, best_ms=best.time_ms, best=best.origin, parents=tuple(row.origin for row in parents),
                missing=tuple(row.origin for row in missing),
            )
        )  # fmt: skip
        lacking = {row.kernel for row in missing}
        children = [
            (row.kernel, child) for row in parents if not last and row.kernel not in lacking
            for child in expansions[row.kernel][used[row.kernel]]
        ]  # fmt: skip
        used.update(row.kernel for row in parents)
        asked = [Asked(origin=one.origin, parent=parent, model=one.model, cost_usd=0.0) for parent, one in children]
        pool = [*map(_ranked, parents), *(child for _, child in children)]
    return Counterfactual(strategy=name, width=width, steps=tuple(steps))


def _expansions(rounds: Sequence[RecordedRound]) -> dict[str, list[Sequence[RankRow]]]:
    """Collect the sets of children of each parent, in the order of its expansions."""
    expansions: dict[str, list[Sequence[RankRow]]] = {}
    for recorded in rounds:
        for parent in recorded.expanded:
            expansions.setdefault(parent, []).append(recorded.children.get(parent, ()))
    return expansions


def _ranked(row: SelectionRow) -> RankRow:
    return RankRow(position=row.rank, **row.model_dump(exclude={"rank", "techniques", "cluster"}))
