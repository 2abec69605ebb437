"""Take from a finished run what another strategy can be scored on."""

from __future__ import annotations

from kopt.model.trial import RankRow
from kopt.run.value import Run
from kopt.search.counterfactual import RecordedRound


def recorded_rounds(run: Run) -> list[RecordedRound]:
    """Return the rounds of a finished run up to its stop, with the correct children of each parent."""
    parent_of = {trial.name: trial.parent for trial in run.trials}
    born = {trial.name: trial.round for trial in run.trials}
    recorded = []
    for number, round in enumerate(run.rounds):
        if number and not round.summary.slots:
            break
        children: dict[str, list[RankRow]] = {}
        for row in round.tables.pool:
            if born[row.origin] == number:
                children.setdefault(parent_of[row.origin], []).append(row)
        asked = {candidate.parent for candidate in round.tables.candidates if candidate.parent}
        before = run.rounds[number - 1].selection if number else ()
        recorded.append(
            RecordedRound(
                pool=round.tables.pool, techniques=round.tables.techniques,
                expanded=[row.kernel for row in before if row.kernel in asked], children=children,
            )
        )  # fmt: skip
    return recorded
