"""Write what a person is told first of a run for a terminal; foreign text stands on single lines."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping

from kopt.model.trial import RoundSummary
from kopt.neutral import one_line
from kopt.report.numbers import after_repair, ratio, time_text
from kopt.report.reasons import in_its_words, short_reason
from kopt.report.round_line import label
from kopt.report.status_lines import headline, note_on, problem_text
from kopt.report.terminal import final_lines
from kopt.view.kernel_lines import WIDTH, checked, workload_texts
from kopt.view.run import LineageStep, RunView

MOST_CAUSES = 3
"""Most causes that are told of what slows the best kernel down on a workload."""


def run_lines(view: RunView) -> list[str]:
    """Describe a run: best kernel, lineage, times, checks, rounds, failures."""
    lines = [f"{name:<{WIDTH}} {text}".rstrip() for name, text in _head(view)]
    if view.figures and view.best:
        model = view.best.trial.model if view.best.trial else ""
        why = view.limits.shortfall if view.limits else ""
        lines += final_lines(view.figures, model=model, files={}, rounds=view.rounds, shortfall=why)
    return lines + [f"{name:<{WIDTH}} {text}".rstrip() for name, text in _rows(view)]


def _head(view: RunView) -> Iterator[tuple[str, str]]:
    status = view.status
    yield one_line(status.run, 60), headline(status)
    yield "problem", problem_text(status)
    if note := note_on(status.judge):
        yield "note", note
    if view.figures is None:
        yield "best kernel", "none yet: the seed kernel is not judged"


def _rows(view: RunView) -> Iterator[tuple[str, str]]:
    if view.best:
        estimated = view.best.estimated
        texts = [text for one in view.best.times for text in workload_texts(one, estimated, MOST_CAUSES)]
        for place, text in enumerate(texts):
            yield "" if place else "workloads", text
    if view.best and view.best.checks:
        yield "verified", f"by {_judge(view.status.judge)}: {checked(view.best)}"
    for place, step in enumerate(view.lineage):
        yield "" if place else "lineage", f"{place}. {_step(step)}"
    yield from _rounds(view.rounds, view.faster)
    for place, failure in enumerate(view.failures):
        example = f", as {failure.example}" + (f": {short_reason(failure.reason, 160)}" if failure.reason else "")
        yield "" if place else "failures", f"{failure.number} {failure.kind} ({failure.meaning}){example}"
    folder = shlex.quote(one_line(view.status.folder))
    yield "more", f"kopt show {folder} KERNEL, kopt diff seed best --run {folder}"


def _judge(name: str) -> str:
    return {
        "interpret": "kopt's interpreter on small sizes, nothing ran on a GPU",
        "cuda": "a GPU",
        "recorded": "a GPU elsewhere, as recorded",
    }.get(name, name)


def _step(step: LineageStep) -> str:
    techniques = [f"+{name}" for name in step.added] + [f"-{name}" for name in step.removed]
    time = f"{time_text(step.ms, step.estimated)}" if step.ms is not None else "no time"
    unsure = f", {step.unsure}" if step.unsure else ""
    faster = f", {ratio(step.ratio)} its parent{label(step.estimated)}{unsure}" if step.ratio is not None else ""
    words = in_its_words(step.description, step.name, 240)
    return " ".join([f"{step.name} {time}{faster}, by {one_line(step.model, 60)}{words}", *techniques])


HEAD = ("round", "slots", "proposed", "built", "unique", "correct", "faster", "best ms", "best kernel")


def _rounds(rounds: tuple[RoundSummary, ...], faster: Mapping[int, int]) -> Iterator[tuple[str, str]]:
    if not rounds:
        return
    table = [HEAD, *(_cells(summary, faster[summary.round]) for summary in rounds)]
    widths = [max(len(row[column]) for row in table) for column in range(len(HEAD))]
    for place, row in enumerate(table):
        cells = "  ".join(cell.rjust(width) for cell, width in zip(row[:-1], widths, strict=False))
        yield "" if place else "rounds", f"{cells}  {row[-1]}"


def _cells(summary: RoundSummary, faster: int) -> tuple[str, ...]:
    repairs = after_repair(summary.repaired)
    counts = (
        summary.slots, summary.proposed, summary.built, summary.unique,
        f"{summary.correct}{f' ({repairs})' if repairs else ''}", faster,
    )  # fmt: skip
    best = f"{summary.best_origin} ({one_line(summary.best_model, 40)})"
    return str(summary.round), *map(str, counts), f"{summary.best_ms:.4f}", best
