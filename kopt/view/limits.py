"""Work out what limits the best kernel and what to try next, by rules over its build and time."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import suppress

from kopt.errors import KoptError, StoreError
from kopt.model.build import Built
from kopt.model.diagnosis import Diagnosis, Profile
from kopt.model.outcome import BEST
from kopt.neutral import one_line
from kopt.report.numbers import milliseconds
from kopt.report.record import FinalFigures, Limits
from kopt.roofline import LATENCY_SHARE
from kopt.run.best import build_of_best
from kopt.run.final import final_figures
from kopt.run.so_far import RunSoFar
from kopt.run.value import Run
from kopt.search.bottlenecks import LAUNCH_MS
from kopt.search.diagnose import build_of, diagnose, launch_count, static_profile, timed_host_ops
from kopt.store import Store
from kopt.view.kernel import estimate_of, instruction_counts
from kopt.view.opened import profiles_of

DIRECTIONS = 3
"""Directions that are told."""
RESTATED = "too_few_bytes_in_flight"
"""Bottleneck whose cause is the share of the roofline in other words."""
MOST_CAUSE = 160
"""Most characters of a cause on the terminal."""
PLURALS = {"launch": "launches", "copy": "copies", "fill": "fills"}

NO_PARENT = "no later round began from it, so the search neither profiled nor diagnosed it"


def limits_of_run(run: Run, so_far: RunSoFar, store: Store) -> Limits:
    """Tell what limits the best kernel, with the profile and the diagnosis that it has as a parent, if it was one."""
    profile = profiles_of(run, so_far.folder).get(run.best.kernel)
    made = [one for round in run.rounds for one in round.diagnoses if one.kernel == run.best.kernel]
    return limits_of_best(run, so_far, store, (profile, made[-1]) if profile and made else None)


def limits_of_best(run: Run, so_far: RunSoFar, store: Store, known: tuple[Profile, Diagnosis] | None) -> Limits:
    """Tell what limits the best kernel.

    Args:
        run: the run.
        so_far: the same run.
        store: the run's store.
        known: its profile and diagnosis as a parent; None where it was no parent of a round.
    """
    limits = _limits(run, so_far, store, known)
    return limits.model_copy(update={"shortfall": _shortfall(run, limits, store)})


def is_far(figures: FinalFigures) -> bool:
    """Return whether neither bytes nor arithmetic nor one launch explain a good part of the best kernel's time.

    Then something else takes the time: further launches, copies, too few programs.  A kernel that computes much more
    than the floor counts (`FinalFigures.ample_ms`) is not far, and neither is one that takes little longer than a
    launch.
    """
    explained = max(figures.roofline_share * figures.best_ms, figures.ample_ms) + LAUNCH_MS
    return explained < LATENCY_SHARE * figures.best_ms


def _shortfall(run: Run, limits: Limits, store: Store) -> str:
    """Say why the best kernel is far from the roofline: the parts of a call, and what limits it first.

    Where the reference's own work explains the time and the roofline does not, its time is told instead.
    """
    figures = final_figures(run)
    floor = figures.roofline_share * figures.best_ms
    if is_far(figures):
        reasons = "; ".join(_reasons(run, limits, store))
    elif figures.roofline_share < LATENCY_SHARE and figures.ample_ms > floor / LATENCY_SHARE:
        exact = ", exact in float32," if any(one.exact_flops for one in run.facts.workloads) else ""
        reasons = f"the reference's own arithmetic{exact} or its bytes take {milliseconds(figures.ample_ms)}"
    else:
        reasons = ""
    return f"which would be {milliseconds(floor)}: {reasons}" if reasons else ""


def _reasons(run: Run, limits: Limits, store: Store) -> Iterator[str]:
    if limits.diagnosis is None or limits.profile is None:
        return
    parts = ""
    with suppress(KoptError):
        parts = _parts(build_of_best(run, store), limits.profile.workload)
    if parts:
        yield f"a call is {parts}"
    first = limits.diagnosis.directions[0]
    if not parts or first.bottleneck != RESTATED:
        yield one_line(first.cause, MOST_CAUSE)


def _parts(build: Built | None, workload: str) -> str:
    """Name launches, copies and fills of a call: `4 launches and 1 copy`; empty for a single launch."""
    if build is None:
        return ""
    traced = build_of(build, workload)
    kinds = Counter(op.kind for op in timed_host_ops(traced))
    counts = {"launch": launch_count(traced), "copy": kinds["copy"], "fill": kinds["fill"]}
    if sum(counts.values()) < 2:
        return ""
    named = [f"{number} {name if number == 1 else PLURALS[name]}" for name, number in counts.items() if number]
    return " and ".join(filter(None, (", ".join(named[:-1]), named[-1])))


def _limits(run: Run, so_far: RunSoFar, store: Store, known: tuple[Profile, Diagnosis] | None) -> Limits:
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
    best, build = run.best, build_of_best(run, store)
    if build is None:
        return Limits(note=f"{NO_PARENT}, and its build is not on record")
    timing = run.outcome.finals.timings[BEST] if run.outcome else estimate_of(build, run.facts, run.device, store)
    if timing is None or not timing.workloads:
        return Limits(note=f"{NO_PARENT}, and its time is not on record")
    kinds: Counter[str] = Counter()
    for counts in instruction_counts(build, store).values():
        kinds.update(counts)
    profile = static_profile(build, timing, run.facts, run.device, dict(kinds))
    diagnosis = diagnose(best.kernel, profile, build, best.techniques, run.facts, run.device, DIRECTIONS)
    return Limits(profile=profile, diagnosis=diagnosis)
