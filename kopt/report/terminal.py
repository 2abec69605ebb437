"""Write the lines on the terminal: one per round, in the style of a log, and a few at the end."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from kopt.model.trial import RoundSummary, StopReason
from kopt.report.numbers import ESTIMATED, percent, printable, ratio, time_text
from kopt.report.record import FinalFigures

STOPPED = {
    StopReason.ROOFLINE: "the best kernel is near the roofline",
    StopReason.BUDGET: "the budget for language models is spent",
    StopReason.NO_IMPROVEMENT: "no improvement for the allowed number of rounds",
}
"""Explains why a search ended."""


def round_line(summary: RoundSummary) -> str:
    """Sum up a round on one line.

    `R1: 64/90 ok (88 built, 71 unique), PTX dedup 66→66, clusters=14, 15 newly classified, best 1.8753 ms estimated
    (claude-opus-4.6), 1.10x seed estimated`.  `ok` counts the slots with a new and correct kernel.
    """
    head = f"R{summary.round}"
    if summary.round == 0:
        return f"{head}: seed {time_text(summary.seed_ms, summary.estimated)}"
    if summary.slots == 0:
        return f"{head}: nothing asked, the search has stopped{_why(summary)}"
    parts = [
        f"{summary.correct}/{summary.slots} ok ({summary.built} built, {summary.unique} unique)",
        f"PTX dedup {summary.pool_before_dedup}→{summary.pool}",
    ]
    if summary.clusters:
        parts += [f"clusters={summary.clusters}", f"{summary.classified} newly classified"]
    parts += [_best(summary), f"{ratio(summary.seed_ms / summary.best_ms)} seed{_label(summary.estimated)}"]
    end = f"; the search stops{_why(summary)}" if summary.stopped else ""
    return f"{head}: {', '.join(parts)}{end}"


def final_lines(
    final: FinalFigures, *, model: str, files: Mapping[str, str], rounds: Sequence[RoundSummary] = ()
) -> list[str]:
    """Sum up a run for the terminal.

    Args:
        final: the figures of its best kernel.
        model: proposer of the best kernel.
        files: paths to list at the end, e.g. `{"kernel": "results/matvec/best_kernel.py"}`.
        rounds: summaries of all rounds; the first with a reason to stop ended the search.
    """
    what = f": {printable(final.description)}" if final.description else ""
    seed = time_text(final.seed_ms, final.estimated)
    lines = [
        f"best kernel    {final.best_name} ({printable(model)}){what}",
        f"time           {time_text(final.best_ms, final.estimated)}{_interval(final)}, seed {seed}",
        f"speedup        {ratio(final.speedup)} seed{_label(final.estimated)}",
        f"roofline       {percent(final.roofline_share)} of the speed of light{_label(final.estimated)}",
    ]
    for row in final.against:
        interval = f"95 % interval {row.low:.3f} to {row.high:.3f}"
        lines.append(f"{row.name:<14} {time_text(row.ms, final.estimated)}, {ratio(row.speedup)} ({interval})")
    for name, ms in (("eager", final.eager_ms), ("torch.compile", final.compile_ms)):
        if ms is not None and not final.against:
            speedup = f"{ratio(ms / final.best_ms)}{_label(final.estimated)}"
            lines.append(f"{name:<14} {time_text(ms, final.estimated)}, {speedup}")
    ends = [f"in round {summary.round}: {STOPPED[summary.stopped]}" for summary in rounds if summary.stopped]
    lines += [f"{'stopped':<14} {end}" for end in ends[:1]]
    return lines + [f"{name:<14} {path}" for name, path in files.items()]


def _best(summary: RoundSummary) -> str:
    return f"best {time_text(summary.best_ms, summary.estimated)} ({printable(summary.best_model)})"


def _label(estimated: bool) -> str:
    return f" {ESTIMATED}" if estimated else ""


def _why(summary: RoundSummary) -> str:
    return f" ({STOPPED[summary.stopped]})" if summary.stopped else ""


def _interval(final: FinalFigures) -> str:
    if final.interval is None:
        return ""
    low, high = final.interval
    return f" (95 % interval {low:.4f} to {high:.4f} ms{_label(final.estimated)})"
