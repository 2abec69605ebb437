"""Write the line of a round on the terminal, in the style of a log."""

from __future__ import annotations

from kopt.model.kernel import MADE_SEED
from kopt.model.trial import RoundSummary, StopReason
from kopt.neutral import one_line
from kopt.report.numbers import ESTIMATED, after_repair, speedup_text, time_text

REPLAYED = "replayed"
"""Label of figures that come from a recording."""

STOPPED = {
    StopReason.ROOFLINE: "the best kernel is near the roofline",
    StopReason.BUDGET: "the budget for language models is spent",
    StopReason.NO_IMPROVEMENT: "no improvement for the allowed number of rounds",
}
"""Explains why a search ended."""


def round_line(summary: RoundSummary, *, replayed: bool = False) -> str:
    """Sum up a round on one line.

    `R1: 64/90 ok (88 built, 71 unique), PTX dedup 66→66, clusters=14, classified 15 new, 51 known, best
    1.8753 ms estimated (claude-opus-4.6), 1.20x seed estimated`.  `ok` counts the slots with a new and correct kernel,
    and the words in parentheses say how many of them are repairs: `64/90 ok (9 after a repair, 97 built, 71 unique)`.

    Args:
        summary: the round.
        replayed: whether its times come from a recording.
    """
    head, mark = f"R{summary.round}", f" {REPLAYED}" if replayed else ""
    if summary.round == 0:
        better = f", {_best(summary)}" if summary.best_model == MADE_SEED else ""
        return f"{head}: seed {time_text(summary.seed_ms, summary.estimated)}{mark}{better}"
    if summary.slots == 0:
        return f"{head}: nothing asked, the search has stopped{_why(summary)}"
    counts = (after_repair(summary.repaired), f"{summary.built} built", f"{summary.unique} unique")
    parts = [
        f"{summary.correct}/{summary.slots} ok ({', '.join(filter(None, counts))})",
        f"PTX dedup {summary.pool_before_dedup}→{summary.pool}",
    ]
    if summary.screened:
        parts.append(f"{summary.screened} screened")
    if summary.clusters:
        parts += [f"clusters={summary.clusters}", _classified(summary)]
    parts += [_best(summary), f"{speedup_text(summary.seed_ms / summary.best_ms, 'seed', summary.estimated)}{mark}"]
    end = f"; the search stops{_why(summary)}" if summary.stopped else ""
    return f"{head}: {', '.join(parts)}{end}"


def _classified(summary: RoundSummary) -> str:
    """Count the kernels of the pool that this round classified, and those that an earlier round had classified."""
    return f"classified {summary.classified} new, {summary.pool - summary.classified} known"


def _best(summary: RoundSummary) -> str:
    return f"best {time_text(summary.best_ms, summary.estimated)} ({one_line(summary.best_model)})"


def label(estimated: bool) -> str:
    """Write the label of an estimated figure; nothing for a measured one."""
    return f" {ESTIMATED}" if estimated else ""


def _why(summary: RoundSummary) -> str:
    return f" ({STOPPED[summary.stopped]})" if summary.stopped else ""
