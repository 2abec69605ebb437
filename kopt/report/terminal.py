"""Write the last lines of a run on the terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from kopt.model.trial import RoundSummary
from kopt.neutral import one_line
from kopt.report.numbers import compilations_text, far_text, percent, ratio, slower_text, speedup_text, time_text
from kopt.report.reasons import in_its_words
from kopt.report.record import FinalFigures
from kopt.report.round_line import STOPPED, label
from kopt.report.sentences import unsure_gain


def final_lines(
    final: FinalFigures,
    *,
    model: str,
    files: Mapping[str, str],
    rounds: Sequence[RoundSummary] = (),
    shortfall: str = "",
) -> list[str]:
    """Sum up a run for the terminal.

    Args:
        final: the figures of its best kernel.
        model: proposer of the best kernel.
        files: paths to list at the end, e.g. `{"kernel": "results/matvec/best_kernel.py"}`.
        rounds: summaries of all rounds; the first with a reason to stop ended the search.
        shortfall: why the kernel is far from the roofline (`Limits.shortfall`); empty where it is not.
    """
    what = in_its_words(final.description, final.best_name)
    seed = time_text(final.seed_ms, final.estimated)
    slower = slower_text(final.best_ms, final.faster_baselines, final.estimated)
    far = far_text(final.best_ms, final.roofline_share, final.ample_ms)
    gain = unsure_gain(final)
    why = f", {shortfall}" if shortfall else ""
    lines = [f"attention      the best kernel is {text}" for text in (slower, far) if text]
    lines += [
        f"best kernel    {final.best_name} ({one_line(model)}){what}",
        f"time           {time_text(final.best_ms, final.estimated)}{_interval(final)}, seed {seed}",
        f"speedup        {ratio(final.speedup)} seed{label(final.estimated)}{f', {gain}' if gain else ''}",
        f"roofline       {percent(final.roofline_share)} of the speed of light{label(final.estimated)}{why}",
    ]
    for row in final.against:
        interval = f"95 % interval {row.low:.3f} to {row.high:.3f}"
        spread = f"; {text}" if (text := compilations_text(row.compilations_ms)) else ""
        lines.append(f"{row.name:<14} {time_text(row.ms, final.estimated)}, {ratio(row.speedup)} ({interval}{spread})")
    for name, ms in (("eager", final.eager_ms), ("torch.compile", final.compile_ms)):
        if ms is not None and not final.against:
            speedup = speedup_text(ms / final.best_ms, "", final.estimated)
            lines.append(f"{name:<14} {time_text(ms, final.estimated)}, {speedup}")
    ends = [f"in round {summary.round}: {STOPPED[summary.stopped]}" for summary in rounds if summary.stopped]
    lines += [f"{'stopped':<14} {end}" for end in ends[:1]]
    return lines + [f"{name:<14} {path}" for name, path in files.items()]


def _interval(final: FinalFigures) -> str:
    if final.interval is None:
        return ""
    low, high = final.interval
    return f" (95 % interval {low:.4f} to {high:.4f} ms{label(final.estimated)})"
