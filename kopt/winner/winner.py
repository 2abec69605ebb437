"""Define a kernel with all that is known of it, for the files that its user gets."""

from __future__ import annotations

import re
from dataclasses import dataclass

from kopt.errors import StoreError
from kopt.jobs.kernels import kernel_source
from kopt.jobs.recorded import find_build, measurements_in
from kopt.model.build import Built
from kopt.model.outcome import BEST
from kopt.model.problem import Given, Problem, Workload, WorkloadFacts
from kopt.model.verdict import Passed
from kopt.provenance import versions
from kopt.report.lineage import chain
from kopt.report.record import FinalFigures
from kopt.run.best import build_of_best
from kopt.run.final import final_figures
from kopt.run.value import Run
from kopt.run_settings import RunSettings
from kopt.store import Store
from kopt.winner.judged import given_of, judged_beside
from kopt.winner.source import ModuleText, module_text
from kopt.winner.tuning import NAMES, Choice, choices, with_choice_in_interpreter, with_choices


@dataclass(frozen=True)
class Winner:
    """A right kernel, and how it came about."""

    problem: Problem
    source: str
    name: str
    """Name of the first candidate with this kernel."""
    steps: tuple[tuple[str, str], ...]
    """The proposer and its description of each step from the seed kernel, in order; foreign text."""
    start: str
    """The kernel that the steps begin with, in words of kopt's own."""
    run: str
    """The run and its settings, in words."""
    judge: str
    """Name of the judge (`interpret`, `cuda`, `dry`)."""
    checks: int | None
    """Comparisons of the last verification; None where their number is not recorded in the run's files."""
    figures: FinalFigures
    device: str
    """Device that the times are of."""
    versions: dict[str, str]
    workloads: tuple[WorkloadFacts, ...]
    """Shapes and dtypes of the main workloads."""
    given: tuple[Given, ...] = ()
    """Arguments in the main workloads, and in all others with which it was verified."""
    others: tuple[Workload, ...] = ()
    """Workloads beside the main ones on which it was verified."""
    launched: frozenset[str] = frozenset()
    """Names of the kernels that it launches in the main workloads; empty where its build is not at hand."""
    choices: tuple[Choice, ...] = ()
    """Choices of its autotuners for the main workloads; empty where nothing has run on a GPU."""

    @property
    def identifier(self) -> str:
        """The problem's name as a part of a Python name."""
        return re.sub(r"\W", "_", self.problem.name)

    @property
    def text(self) -> ModuleText:
        """The kernel's module, with its autotuners' choices."""
        text = with_choices(module_text(self.source, self.problem.seed.source), self.choices)
        return with_choice_in_interpreter(text)

    @property
    def is_tuned(self) -> bool:
        """Whether an autotuner of the module has its choices."""
        return self.text.names >= NAMES


def winner_of(run: Run, store: Store) -> Winner:
    """Collect what is known of a run's best kernel.

    Raises:
        StoreError: its source is not in the store, or no longer.
    """
    config, settings, best = run.config, RunSettings(run.config), run.best
    verdict = run.outcome.finals.verdicts.get(BEST) if run.outcome else None
    launched = run.outcome.finals.launched.get(BEST, {}) if run.outcome else {}
    source = kernel_source(best.kernel, store)
    build = find_build(run.outcome.best.build, store) if run.outcome and launched else None
    judge, made_with = settings.backend, versions()
    if judge == "recorded":
        recorded = measurements_in(store)
        judge, made_with = recorded.judge, recorded.versions
    others = judged_beside(run.problem, judge)
    if isinstance(verdict, Passed):
        compared = {check.workload for check in verdict.checks}
        others = tuple(workload for workload in others if workload.name in compared)
    first, *later = chain(run.trials, best.name)
    return Winner(
        problem=run.problem,
        source=source,
        name=best.name,
        steps=tuple((step.trial.model, step.trial.description) for step in later),
        start=first.trial.description if first.trial.round == 0 else "the problem's seed kernel",
        run=f"{run.name}: preset {config.preset}, {config.rounds} round{'' if config.rounds == 1 else 's'}, "
        f"seed {config.seed}, proposers {', '.join(settings.proposers)}",
        judge=judge,
        checks=len(verdict.checks) if isinstance(verdict, Passed) else None,
        figures=final_figures(run),
        device=run.device.name,
        versions={name: text for name, text in made_with.items() if name in ("kopt", "python", "torch", "triton")},
        workloads=run.facts.workloads,
        given=given_of(run.facts.given, run.problem, judge, {workload.name for workload in others}),
        others=others,
        launched=_launched(run, store),
        choices=choices(build if isinstance(build, Built) else None, launched),
    )


def _launched(run: Run, store: Store) -> frozenset[str]:
    """Name the kernels that the best one launches in the main workloads; none where the store has no build of it."""
    try:
        build = build_of_best(run, store)
    except StoreError:
        return frozenset()
    workloads = build.workloads if build else ()
    return frozenset(launch.kernel for workload in workloads for launch in workload.launches)
