"""Stage `rank`: order the pool, the previous parents and this round's correct kernels, by time."""

from __future__ import annotations

from collections.abc import Sequence

from kopt.model.base import Value
from kopt.model.kernel import Candidate, candidate_name
from kopt.model.options import FinalsOptions
from kopt.model.trial import EvaluationRow, RankRow, SelectionRow
from kopt.search.order import by_time


class RankSettings(Value):
    """Settings of the rule rank."""

    backend: str
    finals: FinalsOptions | None
    """Options of measuring the fastest kernels anew; None where nothing is measured."""


def rank(
    parents: Sequence[SelectionRow], candidates: Sequence[Candidate], evaluations: Sequence[EvaluationRow]
) -> list[RankRow]:
    """Join parents and all correct children, however slow, in the pool, fastest first."""
    model_of = {candidate.name: candidate.model for candidate in candidates}
    children = [_child(e, model_of) for e in evaluations if e.verdict == "passed"]
    pool = by_time([*map(_parent, parents), *children])
    return [row.model_copy(update={"position": place}) for place, row in enumerate(pool)]


def _parent(row: SelectionRow) -> RankRow:
    return RankRow(position=0, **row.model_dump(exclude={"rank", "techniques", "cluster"}))


def _child(row: EvaluationRow, model_of: dict[str, str]) -> RankRow:
    name = candidate_name(row.round, row.attempt, row.slot)
    shared = row.model_dump(include=set(RankRow.model_fields) & set(EvaluationRow.model_fields))
    return RankRow(position=0, origin=name, model=model_of[name], **shared)
