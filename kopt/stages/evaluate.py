"""Stage `evaluate`: find a verdict and a time for every kernel of a chunk."""

from __future__ import annotations

from collections.abc import Sequence

from kopt.backends.backend import Judge
from kopt.model.base import Value
from kopt.model.judged import Judged, JudgedRight
from kopt.model.options import JudgeOptions
from kopt.model.timing import Estimated
from kopt.model.trial import BuildRow, EvaluationRow, ScreenRow, SelectionRow
from kopt.model.verdict import Failed
from kopt.search.screen import screen_line

PLACE = {"round", "attempt", "slot", "kernel", "fingerprint", "build"}
"""Fields that a row of builds and one of evaluations share."""
NOT_REPAIRED = ("passed", "screened")
"""Verdicts after which there is nothing to repair."""


class EvaluateSettings(Value):
    """Settings of the rules evaluate and evaluate_repair."""

    backend: str
    judging: JudgeOptions


def evaluate(
    rows: Sequence[BuildRow], *, chunk: int, judge: Judge, screen: Sequence[ScreenRow] = ()
) -> list[EvaluationRow]:
    """Judge the kernels of one chunk, in order of slots.

    Args:
        rows: builds of the attempt.
        chunk: number of the chunk.
        judge: the judge.
        screen: decisions of the screen; kernels without one are judged.
    """
    skipped = {row.slot: row for row in screen if row.fate == "skipped"}
    chosen = [row for row in rows if row.chunk == chunk]
    left = [row for row in chosen if row.slot not in skipped]
    judged = judge(left) if left else {}
    return [_screened(row, skipped[row.slot]) if row.slot in skipped else _row(row, judged[row.slot]) for row in chosen]


def failed_slots(rows: Sequence[EvaluationRow]) -> str:
    """List the slots whose kernels were judged and did not pass, a line each, for the next attempt to repair."""
    return "".join(f"{row.slot}\n" for row in rows if row.verdict not in NOT_REPAIRED)


def print_screen(screen: Sequence[ScreenRow], rows: Sequence[EvaluationRow], parents: Sequence[SelectionRow]) -> None:
    """Print what the screen did to a chunk's kernels, and its regret; nothing where it left all to the judge."""
    if screen and parents and (line := screen_line(screen, rows, min(row.time_ms for row in parents))):
        print(line)


def _screened(row: BuildRow, decision: ScreenRow) -> EvaluationRow:
    place = row.model_dump(include=PLACE)
    reason = f"estimated at {decision.ratio:.2f}x the best kernel's time, beyond the bound {decision.bound or 0.0:.2f}x"
    return EvaluationRow(**place, verdict="screened", reason=reason, judge="estimate")


def _row(row: BuildRow, judged: Judged) -> EvaluationRow:
    place = row.model_dump(include=PLACE)
    verdict = judged.verdict
    if not isinstance(judged, JudgedRight):
        return EvaluationRow(
            **place, verdict=judged.verdict.verdict, reason=judged.verdict.reason, judge=verdict.judge,
            phase=verdict.phase if isinstance(verdict, Failed) else "", evaluation=judged.evaluation,
        )  # fmt: skip
    timing = judged.timing
    low, high = (None, None) if isinstance(timing, Estimated) else timing.interval_ms
    return EvaluationRow(
        **place, verdict="passed", judge=verdict.judge, time_ms=timing.objective_ms, low_ms=low, high_ms=high,
        estimated=timing.kind == "estimated", roofline_share=timing.roofline_share, evaluation=judged.evaluation,
    )  # fmt: skip
