"""Join the rounds' tables into the table of trials: one row per slot and attempt of a run, losers included."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from kopt.errors import TableError
from kopt.model.kernel import Candidate
from kopt.model.trial import BuildRow, EvaluationRow, SelectionRow, TechniqueRow, Trial

Place = tuple[int, int, int]
"""Round, attempt and slot: the key that the rounds' tables share."""

Placed = TypeVar("Placed", Candidate, BuildRow, EvaluationRow)

SHARED = ("fingerprint", "phase", "reason", "time_ms", "low_ms", "high_ms", "estimated", "roofline_share",
          "techniques", "cluster")  # fmt: skip
"""Fields that a duplicate takes from the first kernel with its fingerprint."""


@dataclass(frozen=True)
class _Tables:
    builds: Mapping[Place, BuildRow]
    evaluations: Mapping[Place, EvaluationRow]
    techniques: Mapping[tuple[int, str], TechniqueRow]
    ranks: Mapping[tuple[int, str], int]


def assemble_trials(
    candidates: Sequence[Candidate],
    builds: Sequence[BuildRow],
    evaluations: Sequence[EvaluationRow],
    techniques: Sequence[Sequence[TechniqueRow]],
    selections: Sequence[Sequence[SelectionRow]],
) -> list[Trial]:
    """Make one trial per candidate, in order of round, attempt and slot, whatever the order of the tables.

    A duplicate has the verdict `duplicate` and takes phase, reason, time and techniques from the first kernel with its
    fingerprint; it is never selected itself.

    Args:
        candidates: all of the run.
        builds: all of the run.
        evaluations: all of the run.
        techniques: by round, from round 0.
        selections: by round, from round 0.

    Raises:
        TableError: the tables do not belong to one run: a build or evaluation without a candidate, two rows for one
            slot and attempt, or a duplicate of an unknown candidate.
    """
    placed = _by_place(candidates)
    tables = _Tables(
        builds=_by_place(builds),
        evaluations=_by_place(evaluations),
        techniques={(r, row.kernel): row for r, rows in enumerate(techniques) for row in rows},
        ranks={(r, row.origin): row.rank for r, rows in enumerate(selections) for row in rows},
    )
    for place in (*tables.builds, *tables.evaluations):
        if place not in placed:
            raise TableError(f"round, attempt, slot {place} was built or judged and never proposed: run again")
    trials = {trial.name: trial for trial in (_own(placed[place], tables) for place in sorted(placed))}
    return [_shared(trial, trials) if trial.duplicate_of else trial for trial in trials.values()]


def _by_place(rows: Iterable[Placed]) -> dict[Place, Placed]:
    placed: dict[Place, Placed] = {}
    for row in rows:
        place = (row.round, row.attempt, row.slot)
        if place in placed:
            raise TableError(f"round, attempt, slot {place} appears twice in one table: run again")
        placed[place] = row
    return placed


def _own(candidate: Candidate, tables: _Tables) -> Trial:
    """Make the trial from the candidate's own rows alone."""
    place = (candidate.round, candidate.attempt, candidate.slot)
    build, judged = tables.builds.get(place), tables.evaluations.get(place)
    technique = tables.techniques.get((candidate.round, candidate.kernel)) if _passed(judged) else None
    shared = candidate.model_dump(exclude={"status", "reason", "request", "moves", "sketch", "numbers"})
    return Trial(
        **shared,
        name=candidate.name,
        status=candidate.status.value,
        fingerprint=build.fingerprint if build else "",
        duplicate_of=build.duplicate_of if build else "",
        verdict=_verdict(build, judged),
        phase=(judged.phase if judged else "") or (build.phase if build else ""),
        reason=candidate.reason or (judged.reason if judged else "") or (build.reason if build else ""),
        time_ms=judged.time_ms if judged else None,
        low_ms=judged.low_ms if judged else None,
        high_ms=judged.high_ms if judged else None,
        estimated=judged.estimated if judged and judged.time_ms is not None else None,
        roofline_share=judged.roofline_share if judged else None,
        techniques=technique.techniques if technique else (),
        cluster=technique.cluster if technique else "",
        selected_rank=tables.ranks.get((candidate.round, candidate.name)),
    )


def _passed(judged: EvaluationRow | None) -> bool:
    return judged is not None and judged.verdict == "passed"


def _verdict(build: BuildRow | None, judged: EvaluationRow | None) -> str:
    if build is not None and build.duplicate_of:
        return "duplicate"
    if judged is not None:
        return judged.verdict
    return "failed" if build is not None and build.status == "failed" else "none"


def _shared(trial: Trial, trials: Mapping[str, Trial]) -> Trial:
    first = trials.get(trial.duplicate_of)
    if first is None:
        raise TableError(f"{trial.name} is a duplicate of {trial.duplicate_of}, which is not in the run: run again")
    taken = {name: getattr(first, name) for name in SHARED}
    return trial.model_copy(update=taken)
