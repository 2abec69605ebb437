"""Join the tables of earlier rounds into what the rewriter learns from: each candidate, and what became of it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from kopt.model.kernel import Candidate, candidate_name
from kopt.model.trial import BuildRow, EvaluationRow
from kopt.rewrite.experience import Outcome, Tried


def tried_before(
    round: int, candidates: Sequence[Candidate], builds: Sequence[BuildRow], evaluations: Sequence[EvaluationRow]
) -> tuple[Tried, ...]:
    """List the candidates of the rounds before `round` that were built, in order of round, attempt and slot.

    Args:
        round: the round that is proposed for.
        candidates: candidates of these rounds; later ones are left out.
        builds: what became of them in the compiler.
        evaluations: verdicts and times of those that were judged.
    """
    judged = {candidate_name(row.round, row.attempt, row.slot): row for row in evaluations}
    built = {candidate_name(row.round, row.attempt, row.slot): row for row in builds}
    fingerprints = {row.kernel: row.fingerprint for row in builds if row.fingerprint}
    times = {row.kernel: row.time_ms for row in evaluations if row.time_ms is not None}

    return tuple(
        _outcome(candidate, build, judged.get(build.duplicate_of or candidate.name), fingerprints, times)
        for candidate in sorted(candidates, key=lambda c: (c.round, c.attempt, c.slot))
        if candidate.round < round and candidate.kernel and (build := built.get(candidate.name)) is not None
    )


def _outcome(
    candidate: Candidate,
    build: BuildRow,
    verdict: EvaluationRow | None,
    fingerprints: Mapping[str, str],
    times: Mapping[str, float],
) -> Tried:
    time = verdict.time_ms if verdict is not None else None
    before = times.get(candidate.parent)
    outcome: Outcome = "failed"
    if verdict is not None and verdict.verdict == "screened":
        outcome = "screened"
    elif time is not None:
        same = build.fingerprint and build.fingerprint == fingerprints.get(candidate.parent)
        outcome = "same" if same else "passed"
    return Tried(
        kernel=candidate.kernel, parent=candidate.parent, moves=candidate.moves, sketch=candidate.sketch,
        numbers=candidate.numbers, outcome=outcome, time_ms=time,
        gain=math.log(before / time) if before is not None and time is not None else None,
    )  # fmt: skip
