"""Work out what limits the best kernel and what to try next, by rules over its build and time."""

from __future__ import annotations

from collections import Counter

from kopt.errors import KoptError, StoreError
from kopt.jobs.recorded import told_build
from kopt.model.diagnosis import Diagnosis, Profile
from kopt.model.outcome import BEST
from kopt.neutral import one_line
from kopt.report.record import Limits
from kopt.run.so_far import RunSoFar
from kopt.run.value import Run
from kopt.search.diagnose import diagnose, static_profile
from kopt.store import Store
from kopt.view.kernel import estimate_of, instruction_counts

DIRECTIONS = 3
"""Directions that are told."""


NO_PARENT = "no later round began from it, so the search neither profiled nor diagnosed it"


def limits_of_best(run: Run, so_far: RunSoFar, store: Store, known: tuple[Profile, Diagnosis] | None) -> Limits:
    """Tell what limits the best kernel.

    Args:
        run: the run.
        so_far: the same run.
        store: the run's store.
        known: its profile and diagnosis as a parent; None where it was no parent of a round.
    """
    if known:
        return Limits(profile=known[0], diagnosis=known[1], as_parent=True)
    if so_far.settings.backend.startswith("dry"):
        return Limits(note="nothing was built, so that nothing limits it")
    try:
        return _by_rules(run, store)
    except StoreError:
        where = "a recording has" if so_far.settings.replayed else "the store no longer has"
        return Limits(note=f"{NO_PARENT}, and {where} no PTX of it for the rules to read")
    except KoptError as error:
        return Limits(note=f"{NO_PARENT}, and the rules cannot read its build: {one_line(str(error))}")


def _by_rules(run: Run, store: Store) -> Limits:
    best = run.best
    rows = (row for round in run.rounds for row in round.tables.builds if row.kernel == best.kernel and row.build)
    row = next(rows, None)
    if row is None:
        return Limits(note=f"{NO_PARENT}, and its build is not on record")
    build = told_build(row.build, store)
    timing = run.outcome.finals.timings[BEST] if run.outcome else estimate_of(build, run.facts, run.device, store)
    if timing is None or not timing.workloads:
        return Limits(note=f"{NO_PARENT}, and its time is not on record")
    kinds: Counter[str] = Counter()
    for counts in instruction_counts(build, store).values():
        kinds.update(counts)
    profile = static_profile(build, timing, run.facts, run.device, dict(kinds))
    diagnosis = diagnose(best.kernel, profile, build, best.techniques, run.facts, run.device, DIRECTIONS)
    return Limits(profile=profile, diagnosis=diagnosis)
