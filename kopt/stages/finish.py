"""Stage finish: the best kernel, the run's final figures, the table of trials, and the report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import yaml

from kopt.estimate.eager import eager_ms
from kopt.jobs.keys import KERNEL
from kopt.model.base import Value
from kopt.model.device import Device
from kopt.model.diagnosis import Diagnosis
from kopt.model.kernel import Candidate
from kopt.model.outcome import BEST, SEED, Outcome
from kopt.model.problem import Problem, ProblemFacts
from kopt.model.technique import Technique
from kopt.model.timing import Measured
from kopt.model.trial import BuildRow, EvaluationRow, RoundSummary, SelectionRow, TechniqueRow, Trial
from kopt.provenance import versions
from kopt.report.costs import LabelledCost
from kopt.report.record import Against, Agreed, Diagnosed, Final, Lessons, RunRecord
from kopt.report.render import render
from kopt.report.terminal import final_lines
from kopt.report.trials import assemble_trials
from kopt.statistics import measured_ratio
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
    outcomes: Sequence[Outcome] = ()
    """What was measured at the end; one on a GPU, none without."""
    diagnoses: Sequence[Diagnosis] = ()
    """By round from 0, and in each by place of the selection."""
    costs: Sequence[LabelledCost] = ()
    agreed: Sequence[Agreed] = ()
    lessons: Sequence[Lessons] = ()

    @cached_property
    def trials(self) -> list[Trial]:
        """One row per slot and attempt, losers included."""
        return assemble_trials(self.candidates, self.builds, self.evaluations, self.techniques, self.selections)

    @property
    def last(self) -> RoundSummary:
        """The last round."""
        return self.summaries[-1]

    @property
    def best(self) -> Trial:
        """The candidate that first brought the best kernel: the last round's, or what was measured at the end."""
        name = self.outcomes[0].best.origin if self.outcomes else self.last.best_origin
        (best,) = [trial for trial in self.trials if trial.name == name]
        return best


def best_source(run: Run, store: Store) -> str:
    """Source of the best kernel: a module that runs as it is."""
    return store.text(KERNEL, run.best.kernel, ".py")


def final(run: Run) -> Final:
    """The best kernel against the seed and the baselines."""
    if run.outcomes:
        return measured(run.best, run.outcomes[0].finals.timings)
    last, best = run.last, run.best
    return Final(
        best_name=best.name,
        description=best.description,
        best_ms=last.best_ms,
        seed_ms=last.seed_ms,
        speedup=last.seed_ms / last.best_ms,
        eager_ms=eager_ms(run.facts, run.device),
        estimated=last.estimated,
        roofline_share=last.roofline_share,
    )


def measured(best: Trial, timings: Mapping[str, Measured]) -> Final:
    """The figures that were measured side by side."""
    mine, seed = timings[BEST], timings[SEED]
    against = tuple(_against(name, timings[name], mine) for name in timings if name != BEST)
    gain = next(one for one in against if one.name == SEED)
    return Final(
        best_name=best.name,
        description=best.description,
        best_ms=mine.objective_ms,
        seed_ms=seed.objective_ms,
        speedup=gain.speedup,
        against=against,
        eager_ms=timings["eager"].objective_ms if "eager" in timings else None,
        compile_ms=timings["compile"].objective_ms if "compile" in timings else None,
        interval=mine.interval_ms,
        estimated=False,
        roofline_share=mine.roofline_share,
        workloads={one.workload: one.median_ms for one in mine.workloads},
    )


def _against(name: str, other: Measured, mine: Measured) -> Against:
    ratio = measured_ratio(other, mine)
    return Against(name=name, ms=other.objective_ms, speedup=ratio.middle, low=ratio.low, high=ratio.high)


def manifest(run: Run) -> Manifest:
    """What the run was made with."""
    return Manifest(
        run=run.name,
        configuration=dict(run.configuration),
        versions=versions(),
        device=run.device,
        kernels={"seed": run.trials[0].kernel, "best": run.best.kernel},
    )


def report(run: Run, store: Store) -> str:
    """The run as one page of HTML."""
    return render(_record(run, store))


def lines(run: Run, files: Mapping[str, str]) -> str:
    """What the run came to, for the terminal."""
    return "\n".join(final_lines(final(run), model=run.best.model, files=files, rounds=run.summaries))


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
        costs=tuple(run.costs),
        diagnoses=_diagnosed(run),
        agreed=tuple(run.agreed),
        lessons=tuple(run.lessons),
    )


def _diagnosed(run: Run) -> tuple[Diagnosed, ...]:
    """Who diagnosed each parent; places without a parent have no diagnosis."""
    width = len(run.diagnoses) // max(len(run.summaries) - 1, 1)
    return tuple(
        Diagnosed(
            round=place // width,
            place=place % width + 1,
            parent=run.selections[place // width][place % width].origin,
            source=one.source,
            bottlenecks=tuple(direction.bottleneck for direction in one.directions),
        )
        for place, one in enumerate(run.diagnoses)
        if one.kernel
    )
