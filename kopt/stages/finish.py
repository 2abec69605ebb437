"""Stage finish: the best kernel, the run's final figures, the table of trials, and the report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import yaml

from kopt.model.base import Value
from kopt.model.device import Device
from kopt.model.kernel import Candidate
from kopt.model.problem import Problem, ProblemFacts
from kopt.model.technique import Technique
from kopt.model.trial import BuildRow, EvaluationRow, RoundSummary, SelectionRow, TechniqueRow, Trial
from kopt.provenance import versions
from kopt.report.record import Final, RunRecord
from kopt.report.render import render
from kopt.report.terminal import final_lines
from kopt.report.trials import assemble_trials
from kopt.stages.keys import KERNEL
from kopt.store import Store


class Manifest(Value):
    """What a run was made with: enough to make it again."""

    run: str
    configuration: dict[str, Any]
    """All settings, resolved."""
    versions: dict[str, str]
    device: Device
    kernels: dict[str, str]
    """Digests of the seed's and the best kernel's source."""


@dataclass(frozen=True)
class Run:
    """What a finished run left."""

    name: str
    configuration: Mapping[str, Any]
    problem: Problem
    facts: ProblemFacts
    device: Device
    taxonomy: Sequence[Technique]
    summaries: Sequence[RoundSummary]
    selections: Sequence[Sequence[SelectionRow]]
    candidates: Sequence[Candidate]
    builds: Sequence[BuildRow]
    evaluations: Sequence[EvaluationRow]
    techniques: Sequence[Sequence[TechniqueRow]]

    @cached_property
    def trials(self) -> list[Trial]:
        """One row per slot and attempt, losers included."""
        return assemble_trials(self.candidates, self.builds, self.evaluations, self.techniques, self.selections)

    @property
    def last(self) -> RoundSummary:
        """The last round, which knows the best kernel."""
        return self.summaries[-1]


def best_source(run: Run, store: Store) -> str:
    """Source of the best kernel: a module that runs as it is."""
    return store.text(KERNEL, run.last.best_kernel, ".py")


def final(run: Run) -> Final:
    """The best kernel against the seed and the baselines."""
    last = run.last
    (best,) = [trial for trial in run.trials if trial.name == last.best_origin]
    return Final(
        best_name=best.name,
        description=best.description,
        best_ms=last.best_ms,
        seed_ms=last.seed_ms,
        speedup=last.seed_ms / last.best_ms,
        eager_ms=_eager_ms(run),
        estimated=last.estimated,
        roofline_share=last.roofline_share,
    )


def manifest(run: Run) -> Manifest:
    """What the run was made with."""
    return Manifest(
        run=run.name,
        configuration=dict(run.configuration),
        versions=versions(),
        device=run.device,
        kernels={"seed": run.trials[0].kernel, "best": run.last.best_kernel},
    )


def report(run: Run, store: Store) -> str:
    """The run as one page of HTML."""
    return render(_record(run, store))


def lines(run: Run, files: Mapping[str, str]) -> str:
    """What the run came to, for the terminal."""
    return "\n".join(final_lines(final(run), model=run.last.best_model, files=files))


def _record(run: Run, store: Store) -> RunRecord:
    settings = run.configuration
    return RunRecord(
        run=run.name,
        problem=run.problem.name,
        preset=settings["preset"],
        models=tuple(settings["proposers"]),
        strategy=settings["strategy"],
        clustering=settings["clustering"],
        seed=settings["seed"],
        judge=settings["effective_judge"],
        device=run.device.name,
        configuration=yaml.safe_dump(dict(settings), sort_keys=True),
        versions=versions(),
        rounds=tuple(run.summaries),
        trials=tuple(run.trials),
        selections=tuple(map(tuple, run.selections)),
        best_source=best_source(run, store),
        seed_source=run.problem.seed.source,
        final=final(run),
        taxonomy=tuple(technique.name for technique in run.taxonomy),
    )


def _eager_ms(run: Run) -> float | None:
    """Estimated time of the eager reference; None in a dry run, which has no facts."""
    from kopt.device.estimate import estimate_eager

    return estimate_eager(run.facts, run.device).objective_ms if run.facts.workloads else None
