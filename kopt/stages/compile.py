"""Stage `compile`: build every candidate without a GPU, and mark duplicates.

Only the first of a run's candidates that do the same on every input is judged, so that duplicates take no time of a
GPU.  Equal fingerprints are not enough: they cover the main workloads, and a verdict rests on other shapes too, which
the code around the launches may treat otherwise.  So the sources must be equal too, but for names, comments and layout.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

from kopt.artifact import write_value
from kopt.backends.backend import Builder
from kopt.jobs.accidents import is_accident
from kopt.jobs.builds import build_key
from kopt.jobs.kernels import kernel_named, kernel_source
from kopt.jobs.source_form import source_form
from kopt.jobs.target import ProblemOnTarget
from kopt.model.base import Value
from kopt.model.build import Build, BuildFailed
from kopt.model.kernel import Candidate, candidate_name
from kopt.model.trial import BuildRow, behaviour

log = logging.getLogger(__name__)

NO_NAMES: Mapping[str, str] = MappingProxyType({})


class CompileSettings(Value):
    """Settings of the rules compile, compile_seed and compile_repair."""

    backend: str
    build_seconds: float
    """Wall-clock limit for tracing and compiling one candidate, s."""


def compile_candidates(
    candidates: Sequence[Candidate],
    target: ProblemOnTarget,
    *,
    build: Builder,
    kept: bool = True,
    names: Mapping[str, str] = NO_NAMES,
) -> tuple[list[BuildRow], dict[int, Build]]:
    """Build an attempt's candidates, or read their builds from the store.

    Args:
        candidates: the attempt's candidates.
        target: the problem, the device to build for, and the store.
        build: makes the builds that the store does not hold.
        kept: whether builds are stored and looked up; builds of a dry backend are not, since another run on the same
            store would take them for real builds.
        names: names of builds by kernel, for builds that are not kept here.

    Returns:
        A row for each candidate, not yet deduplicated, and the builds by slot.
    """
    problem, device, store = target.problem, target.device, target.store
    shelf = store.shelf(Build)
    wanted = {c.slot: c for c in candidates if c.kernel}
    keys = {slot: build_key(c.kernel, problem, device) for slot, c in wanted.items()} if kept else {}
    named = {slot: keys[slot].digest() if kept else names.get(c.kernel, "") for slot, c in wanted.items()}
    builds = {slot: stored for slot, key in keys.items() if (stored := shelf.get(key)) is not None}
    missing = first_of_each({slot: c.kernel for slot, c in wanted.items() if slot not in builds})
    log.info("%d candidates: %d builds in the store, %d to make", len(wanted), len(builds), len(missing))
    kernels = [kernel_named(name, problem, store) for name in missing]
    for index, made in build(kernels).items():
        for slot in list(missing.values())[index]:
            builds[slot] = made if is_accident(made) or not kept else shelf.put(keys[slot], made)
    forms = {c.slot: source_form(kernel_source(c.kernel, store), problem.seed.entry) for c in wanted.values()}
    return [_row(c, builds.get(c.slot), named.get(c.slot, ""), forms.get(c.slot, "")) for c in candidates], builds


def first_of_each(names: Mapping[int, str]) -> dict[str, list[int]]:
    """Group slots by name, in order of the first slot."""
    slots: dict[str, list[int]] = {}
    for slot, name in names.items():
        slots.setdefault(name, []).append(slot)
    return slots


def mark_duplicates(rows: Sequence[BuildRow], earlier: Sequence[BuildRow], *, chunks: int) -> list[BuildRow]:
    """Mark the duplicates of earlier candidates, and spread the new kernels evenly over the chunks.

    A source that failed before is a duplicate too, since it would fail again.

    Args:
        rows: this attempt's builds.
        earlier: the builds of the run so far.
        chunks: number of evaluate jobs.
    """
    first = {_deciding(row): _name(row) for row in reversed([r for r in earlier if r.kernel and not r.duplicate_of])}
    marked = []
    for row in rows:
        original = first.setdefault(_deciding(row), _name(row)) if row.kernel else ""
        marked.append(row if original == _name(row) else row.model_copy(update={"duplicate_of": original}))
    fresh = [row.slot for row in marked if row.status == "built" and not row.duplicate_of]
    chunk_of = {slot: place * chunks // len(fresh) for place, slot in enumerate(fresh)}
    return [row.model_copy(update={"chunk": chunk_of.get(row.slot, -1)}) for row in marked]


def _deciding(row: BuildRow) -> tuple[str, str]:
    """Return what decides a kernel's verdict: equal for kernels that do the same on every input."""
    return behaviour(row), row.form


def failed_slots(rows: Sequence[BuildRow]) -> str:
    """List the slots that failed to build, a line each, for the next attempt to repair."""
    return "".join(f"{row.slot}\n" for row in rows if row.status == "failed")


def write_records(folders: Sequence[Path], rows: Sequence[BuildRow], builds: Mapping[int, Build]) -> None:
    """Write a file for each slot for people to read: the build, or the row with the reason why there is none."""
    for folder in folders:
        for row in rows:
            write_value(folder / f"{row.slot}.json", builds.get(row.slot, row), synced=False)


def _row(candidate: Candidate, build: Build | None, name: str, form: str) -> BuildRow:
    place = candidate.model_dump(include={"round", "attempt", "slot", "kernel"}) | {"form": form}
    if build is None:
        return BuildRow(**place, status="none", reason=candidate.reason)
    if isinstance(build, BuildFailed):
        return BuildRow(**place, status="failed", phase=build.phase, reason=build.reason, build=name)
    return BuildRow(**place, status="built", fingerprint=build.fingerprint, build=name)


def _name(row: BuildRow) -> str:
    return candidate_name(row.round, row.attempt, row.slot)
