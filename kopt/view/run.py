"""Collect what a person is told first of a run: its best kernel, how it came about, times, checks, rounds, failures."""

from __future__ import annotations

from kopt.model.base import Value
from kopt.model.trial import RoundSummary
from kopt.report.lineage import chain
from kopt.report.outcomes import failures
from kopt.report.record import FinalFigures, Limits
from kopt.report.status import RunStatus
from kopt.report.tables import faster_in, unsure_between
from kopt.run.final import final_figures
from kopt.run.so_far import RunSoFar
from kopt.run.status import status_of
from kopt.store import Store
from kopt.view.kernel import KernelView
from kopt.view.limits import limits_of_run
from kopt.view.of_run import trial_named, view_of_trial


class LineageStep(Value):
    """One step from the seed kernel to the best kernel."""

    name: str
    model: str
    description: str
    """The change, in the proposer's words; foreign text."""
    ms: float | None
    ratio: float | None
    """Time of the parent over its own; above 1 the step made the kernel faster.  None for the seed kernel."""
    unsure: str = ""
    """Why it cannot be told which of the two is faster; empty where it can."""
    estimated: bool
    added: tuple[str, ...]
    """Techniques that the parent did not use."""
    removed: tuple[str, ...]


class FailureCount(Value):
    """How often candidates failed in one way."""

    kind: str
    """What went wrong: `syntax error`, `wrong result`, `no proposal`, ..."""
    meaning: str
    number: int
    example: str
    """Name of the first candidate."""
    reason: str
    """Its reason; foreign text."""


class RunView(Value):
    """What a person is told first of a run."""

    status: RunStatus
    figures: FinalFigures | None
    """None before the seed kernel is judged."""
    limits: Limits | None
    """Causes of the best kernel's time: launches, bytes, bottleneck; None before the seed kernel is judged."""
    best: KernelView | None
    lineage: tuple[LineageStep, ...]
    rounds: tuple[RoundSummary, ...]
    faster: dict[int, int]
    """By round, its correct kernels that are faster beyond doubt than the best of the rounds before."""
    failures: tuple[FailureCount, ...]


def view_of_run(run: RunSoFar, store: Store) -> RunView:
    """Collect what a person is told first of a run, whether it goes on or has ended.

    Raises:
        StoreError: the best kernel's source is not in the store, or no longer.
    """
    complete = run.run
    best = trial_named("best", run) if complete else None
    summaries = tuple(round.summary for round in run.rounds)
    return RunView(
        status=status_of(run),
        figures=final_figures(complete) if complete else None,
        limits=limits_of_run(complete, run, store) if complete else None,
        best=view_of_trial("best", best, run, store) if best else None,
        lineage=_lineage(run, best.name) if best else (),
        rounds=summaries,
        faster=faster_in(run.trials, summaries, [round.selection for round in run.rounds]),
        failures=tuple(
            FailureCount(
                kind=one.kind, meaning=one.meaning, number=one.number, example=one.example.name,
                reason=one.example.reason,
            )
            for one in failures(run.trials)
        ),
    )  # fmt: skip


def _lineage(run: RunSoFar, name: str) -> tuple[LineageStep, ...]:
    return tuple(
        LineageStep(
            name=step.trial.name, model=step.trial.model, description=step.trial.description, ms=step.trial.time_ms,
            ratio=(
                step.parent.time_ms / step.trial.time_ms
                if step.parent and step.parent.time_ms and step.trial.time_ms else None
            ),
            unsure=unsure_between(step.parent, step.trial) if step.parent else "",
            estimated=bool(step.trial.estimated), added=step.added, removed=step.removed,
        )
        for step in chain(run.trials, name)
    )  # fmt: skip
