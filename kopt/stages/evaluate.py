"""Stage `evaluate`: find a verdict and a time for every kernel of a chunk."""

from __future__ import annotations

from collections.abc import Sequence

from kopt.backends.backend import Judge
from kopt.model.base import Value
from kopt.model.judged import Judged, JudgedRight
from kopt.model.options import JudgeOptions
from kopt.model.timing import Measured
from kopt.model.trial import BuildRow, EvaluationRow, SelectionRow
from kopt.model.verdict import Failed


class EvaluateSettings(Value):
    """Settings of the rules evaluate and evaluate_repair."""

    backend: str
    judging: JudgeOptions


def evaluate(rows: Sequence[BuildRow], *, chunk: int, judge: Judge) -> list[EvaluationRow]:
    """Judge the kernels of one chunk, in order of slots."""
    chosen = [row for row in rows if row.chunk == chunk]
    judged = judge(chosen) if chosen else {}
    return [_row(row, judged[row.slot]) for row in chosen]


def incumbent_of(parents: Sequence[SelectionRow]) -> str:
    """Return the digest of the fastest parent, which candidates race against; empty when there is no parent."""
    return min(parents, key=lambda row: row.time_ms).kernel if parents else ""


def failed_slots(rows: Sequence[EvaluationRow]) -> str:
    """List the slots whose kernels did not pass, a line each, for the next attempt to repair."""
    return "".join(f"{row.slot}\n" for row in rows if row.verdict != "passed")


def _row(row: BuildRow, judged: Judged) -> EvaluationRow:
    place = row.model_dump(include={"round", "attempt", "slot", "kernel", "fingerprint", "build"})
    verdict = judged.verdict
    if not isinstance(judged, JudgedRight):
        return EvaluationRow(
            **place, verdict=judged.verdict.verdict, reason=judged.verdict.reason, judge=verdict.judge,
            phase=verdict.phase if isinstance(verdict, Failed) else "", evaluation=judged.evaluation,
        )  # fmt: skip
    timing = judged.timing
    low, high = timing.interval_ms if isinstance(timing, Measured) else (None, None)
    return EvaluationRow(
        **place, verdict="passed", judge=verdict.judge, time_ms=timing.objective_ms, low_ms=low, high_ms=high,
        estimated=timing.kind == "estimated", roofline_share=timing.roofline_share, evaluation=judged.evaluation,
    )  # fmt: skip
