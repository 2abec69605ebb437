"""Collect what is known of a run's kernels, from the run's files and its store."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import TypeVar

from kopt.backends.estimates import known_estimate
from kopt.errors import ConfigError, StoreError, TaxonomyError, nearest_and
from kopt.jobs.kernels import kernel_source
from kopt.jobs.keys import timing_key
from kopt.jobs.recorded import find_build, find_verdict
from kopt.model.build import Build, BuildFailed, Built
from kopt.model.kernel import Candidate
from kopt.model.outcome import BEST, SEED
from kopt.model.technique import Evidence, Technique
from kopt.model.timing import Estimated, Measured, Timing
from kopt.model.trial import BuildRow, EvaluationRow, Trial
from kopt.model.verdict import Check, Failed, Verdict
from kopt.project import project_root
from kopt.report.lineage import first_of_kernel
from kopt.report.status_lines import MADE_UP
from kopt.run.so_far import RunSoFar
from kopt.store import Store
from kopt.techniques import taxonomy
from kopt.view.circumstances import workload_titles
from kopt.view.kernel import (
    KernelView,
    WorkloadTime,
    estimate_of,
    estimated_times,
    evidence_of,
    instruction_counts,
    launch_views,
    measured_times,
    source_facts,
)
from kopt.view.said import contradictions

LEAST_DIGITS = 4
"""Digits of a digest that may name a kernel."""
NO_PTX = "a recording has no PTX, so that its instructions are not counted"
"""Note on a kernel of a replay."""
R = TypeVar("R", Candidate, BuildRow, EvaluationRow)


def trial_named(word: str, run: RunSoFar) -> Trial:
    """Return the trial that a word names: `best`, `seed`, a candidate (`r2a0s3`), or the begin of a digest.

    Raises:
        ConfigError: no kernel has this name, or several have.
    """
    trials = [trial for trial in run.trials if trial.kernel or trial.name == word]
    named = {trial.name: trial for trial in trials}
    if word == BEST:
        return _best(run, named)
    if word == SEED and trials:
        return trials[0]
    if word in named:
        return named[word]
    found: dict[str, Trial] = {}
    if re.fullmatch(rf"[0-9a-f]{{{LEAST_DIGITS},64}}", word):
        for trial in trials:
            if trial.kernel.startswith(word) or trial.fingerprint.startswith(word):
                found.setdefault(trial.kernel, trial)
    if len(found) > 1:
        names = ", ".join(trial.name for trial in list(found.values())[:5])
        raise ConfigError(f"{word} names {len(found)} kernels ({names}): give more digits, or a name")
    if not found:
        what = "give best, seed, a name such as r1a0s0, or at least four digits of a digest"
        raise ConfigError(f"the run {run.folder} has no kernel {word!r}{nearest_and(word, [*named, BEST, SEED], what)}")
    return next(iter(found.values()))


def _best(run: RunSoFar, named: dict[str, Trial]) -> Trial:
    if not run.rounds:
        raise ConfigError(f"the run {run.folder} has no best kernel yet: its seed kernel is not judged")
    return named[run.outcome.best.origin if run.outcome else run.rounds[-1].summary.best_origin]


def view_of_trial(label: str, trial: Trial, run: RunSoFar, store: Store, *, evidence: bool = True) -> KernelView:
    """Collect what is known of the kernel of a trial.

    Args:
        label: the word that named it.
        trial: its row in the run's table.
        run: its run.
        store: the store that the run used.
        evidence: whether to look where it uses each technique, which takes a tenth of a second.

    Raises:
        StoreError: its source is not in the store, or no longer.
    """
    source = kernel_source(trial.kernel, store) if trial.kernel else ""
    first = first_of_kernel(run.trials)
    place = (trial.round, trial.attempt, trial.slot)
    shared = next((one for one in run.trials if one.name == trial.duplicate_of), trial)
    build = _build(_at(shared), run, store)
    parent = first.get(trial.parent)
    before = launch_views(_build(_at(parent), run, store) if parent else None, run.device)
    launches = launch_views(build, run.device)
    evaluation = _row(_at(shared), run, "evaluations", EvaluationRow)
    verdict = find_verdict(evaluation.evaluation, store) if evaluation else None
    measured = _measured(trial, run, store)
    try:
        estimate = None if run.settings.measures else _estimate(_at(shared), build, run, store)
        counts, note = instruction_counts(build, store), ""
    except StoreError as error:
        estimate, counts, note = None, {}, NO_PTX if run.settings.replayed else str(error)
    times: tuple[WorkloadTime, ...] = measured_times(measured) or estimated_times(estimate if trial.time_ms else None)
    interval = measured.interval_ms if measured else _interval(trial)
    found = _evidence(source, build, run, store) if evidence else ()
    return KernelView(
        label=label,
        name=trial.name,
        source=source,
        facts=source_facts(source, build) if source else None,
        trial=trial,
        parent=parent.name if parent else "",
        contradicted=contradictions(trial.description, source, launches, before) if parent else (),
        siblings=tuple(t.name for t in run.trials if t.kernel and t.kernel == trial.kernel and _at(t) != place),
        build_failure=build.reason if isinstance(build, BuildFailed) else "",
        note=note or _build_note(trial, build, run),
        fingerprint=trial.fingerprint,
        launches=launches,
        instructions=counts,
        evidence=found,
        techniques=trial.techniques or tuple(one.technique for one in found),
        verdict=trial.verdict,
        phase=trial.phase,
        reason=trial.reason,
        checks=_checks(verdict),
        titles=workload_titles(run.problem, distinct=run.settings.measures) if run.problem else {},
        ms=measured.objective_ms if measured else trial.time_ms,
        interval=interval,
        estimated=bool(trial.estimated) and measured is None,
        roofline_share=measured.roofline_share if measured else trial.roofline_share,
        times=times,
    )


def _at(row: Trial | Candidate | BuildRow | EvaluationRow) -> tuple[int, int, int]:
    return row.round, row.attempt, row.slot


def _interval(trial: Trial) -> tuple[float, float] | None:
    return (trial.low_ms, trial.high_ms) if trial.low_ms is not None and trial.high_ms is not None else None


def _build(place: tuple[int, int, int], run: RunSoFar, store: Store) -> Build | None:
    row = _row(place, run, "builds", BuildRow)
    if row is None or not row.build:
        return None
    return find_build(row.build, store)


def _estimate(place: tuple[int, int, int], build: Build | None, run: RunSoFar, store: Store) -> Estimated | None:
    """Return a kernel's estimated time, the run's own where the store holds it.

    Raises:
        StoreError: it is not in the store, and its PTX is neither.
    """
    row = _row(place, run, "builds", BuildRow)
    if row is not None and run.facts is not None and run.device is not None and isinstance(build, Built):
        known = known_estimate(row.build, run.facts, run.device, store)
        if known is not None:
            return known
    return estimate_of(build, run.facts, run.device, store)


def _build_note(trial: Trial, build: Build | None, run: RunSoFar) -> str:
    if build is not None or not trial.kernel or trial.verdict == "none":
        return ""
    if run.settings.backend.startswith("dry"):
        return MADE_UP
    return "its build is not in the store, or no longer"


def _row(place: tuple[int, int, int], run: RunSoFar, table: str, kind: type[R]) -> R | None:
    parts: Sequence[object] = [*(round.tables for round in run.rounds), *([run.begun] if run.begun else [])]
    rows: list[R] = [row for part in parts for row in getattr(part, table) if isinstance(row, kind)]
    return next((row for row in rows if _at(row) == place), None)


def _measured(trial: Trial, run: RunSoFar, store: Store) -> Measured | None:
    """Return a kernel's measured time: of the outcome for the best and the seed kernel, else of its race."""
    finals = run.outcome.finals.timings if run.outcome else run.baseline.timings if run.baseline else {}
    if run.outcome and trial.name == run.outcome.best.origin:
        return finals.get(BEST)
    if trial == run.trials[0]:
        return finals.get(SEED)
    environment = next((timing.environment for timing in finals.values() if timing.environment), None)
    if environment is None or run.problem is None or trial.time_ms is None:
        return None
    key = timing_key(
        trial.fingerprint or trial.kernel, run.problem, environment, warmup=run.config.benchmark_warmup,
        repeat=run.config.benchmark_repeat,
    )  # fmt: skip
    timing = store.shelf(Timing).get(key)
    return timing if isinstance(timing, Measured) else None


def _checks(verdict: Verdict | None) -> tuple[Check, ...]:
    return () if verdict is None or isinstance(verdict, Failed) else verdict.checks


def _evidence(source: str, build: Build | None, run: RunSoFar, store: Store) -> tuple[Evidence, ...]:
    if not source or run.device is None or build is None:
        return ()
    return evidence_of(source, build, techniques_of(run.config.technique_clustering.techniques), run.device, store)


def techniques_of(file: str) -> tuple[Technique, ...]:
    """Read a taxonomy, from the working folder or the project; empty where the file is gone or is no taxonomy."""
    for path in (Path(file), project_root() / file):
        try:
            return taxonomy.load(path)
        except TaxonomyError:
            continue
    return ()
