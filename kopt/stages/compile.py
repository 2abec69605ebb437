"""Stage compile: build every candidate without a GPU, and find which kernels are new.

Dedup happens here, before any GPU time: of equal fingerprints in a run only the first is judged.
"""

from __future__ import annotations

import importlib.metadata
import logging
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from kopt import artifact
from kopt.artifact import text_digest, write_value
from kopt.errors import DeviceError
from kopt.jobs.keys import KERNEL, BuildKey, build_contract, build_target
from kopt.model.build import Build, BuildFailed, Built, Phase
from kopt.model.device import Device, Toolchain
from kopt.model.kernel import Candidate, Kernel, candidate_name
from kopt.model.problem import Problem
from kopt.model.trial import BuildRow
from kopt.sandbox.environment import GPU_VARIABLE
from kopt.store import Store

log = logging.getLogger(__name__)

ACCIDENTS = {Phase.TIMEOUT, Phase.CRASH}
"""Failures that may be the machine's fault: not kept in the store, so that another run tries again."""

Builder = Callable[[Sequence[Kernel]], Mapping[int, Build]]


def compile_candidates(
    candidates: Sequence[Candidate], *, problem: Problem, device: Device, store: Store, build: Builder
) -> tuple[list[BuildRow], dict[int, Build]]:
    """Builds of an attempt's candidates: what the store knows, and the rest made now.

    Returns:
        a row per candidate, not yet deduplicated, and the builds by slot.
    """
    shelf = store.shelf(Build)
    wanted = {c.slot: c for c in candidates if c.kernel}
    keys = {slot: build_key(c.kernel, problem, device) for slot, c in wanted.items()}
    builds = {slot: known for slot, key in keys.items() if (known := shelf.get(key)) is not None}
    missing = first_of_each({slot: c.kernel for slot, c in wanted.items() if slot not in builds})
    log.info("%d candidates: %d builds known, %d to make", len(wanted), len(builds), len(missing))
    kernels = [Kernel(source=store.text(KERNEL, name, ".py"), entry=problem.seed.entry) for name in missing]
    for index, made in build(kernels).items():
        for slot in list(missing.values())[index]:
            builds[slot] = made if is_accident(made) else shelf.put(keys[slot], made)
    return [_row(c, builds.get(c.slot), keys.get(c.slot)) for c in candidates], builds


def first_of_each(names: Mapping[int, str]) -> dict[str, list[int]]:
    """Slots by name, in order of the first slot."""
    slots: dict[str, list[int]] = {}
    for slot, name in names.items():
        slots.setdefault(name, []).append(slot)
    return slots


def is_accident(build: Build) -> bool:
    """Whether a failed build may be the machine's fault."""
    return isinstance(build, BuildFailed) and build.phase in ACCIDENTS


def mark_duplicates(rows: Sequence[BuildRow], earlier: Sequence[BuildRow], *, chunks: int) -> list[BuildRow]:
    """Name the first candidate of every fingerprint, and spread the new ones evenly over the chunks.

    A source that was tried before without success is a duplicate too: it would fail again.
    """
    first = {_identity(row): _name(row) for row in reversed([r for r in earlier if r.kernel and not r.duplicate_of])}
    marked = []
    for row in rows:
        known = first.setdefault(_identity(row), _name(row)) if row.kernel else ""
        marked.append(row if known == _name(row) else row.model_copy(update={"duplicate_of": known}))
    fresh = [row.slot for row in marked if row.status == "built" and not row.duplicate_of]
    chunk_of = {slot: place * chunks // len(fresh) for place, slot in enumerate(fresh)}
    return [row.model_copy(update={"chunk": chunk_of.get(row.slot, -1)}) for row in marked]


def build_key(kernel: str, problem: Problem, device: Device) -> BuildKey:
    """The key of one kernel's build."""
    return BuildKey(
        kernel=kernel, entry=problem.seed.entry, problem=build_contract(problem), device=build_target(device),
        toolchain=toolchain(device),
    )  # fmt: skip


def known_build(kernel: Kernel, problem: Problem, device: Device, store: Store) -> Built | None:
    """What the store holds of a kernel's build; None where it holds none."""
    found = store.shelf(Build).get(build_key(text_digest(kernel.source), problem, device))
    return found if isinstance(found, Built) else None


def toolchain(device: Device) -> Toolchain:
    """Versions that builds depend on, read without importing them."""
    return Toolchain(
        torch=importlib.metadata.version("torch"), triton=importlib.metadata.version("triton"), arch=device.arch
    )


def builder(judge: str, problem: Problem, device: Device, store: Store, *, workers: int, seconds: float) -> Builder:
    """The builder that goes with a judge."""
    if judge == "dry":
        return build_dry
    return build_with_triton(problem, device, store, workers=workers, seconds=seconds)


def build_with_triton(problem: Problem, device: Device, store: Store, *, workers: int, seconds: float) -> Builder:
    """The real builder: Triton compiles in a caged child per candidate.

    Its process must see no GPU (`kopt.sandbox.environment.NO_GPU`): torch would initialise CUDA before it is forked.

    Raises:
        DeviceError: a build is asked for in a process that may see a GPU.
    """

    def build(kernels: Sequence[Kernel]) -> Mapping[int, Build]:
        if not kernels:
            return {}
        if os.environ.get(GPU_VARIABLE) != "":
            raise DeviceError(f"kernels are built in a process that sees no GPU: begin it with {GPU_VARIABLE} empty")
        from kopt.device.build.build import LIMITS, BuildJob, build_all

        jobs = [BuildJob(kernel=kernel, problem=problem, device=device) for kernel in kernels]
        return dict(build_all(jobs, store=store, workers=workers, limits=replace(LIMITS, wall_s=seconds)))

    return build


def build_dry(kernels: Sequence[Kernel]) -> Mapping[int, Build]:
    """The dry builder: nothing is compiled; the fingerprint is the source's digest."""
    return {
        index: Built(fingerprint=artifact.text_digest(kernel.source), workloads=())
        for index, kernel in enumerate(kernels)
    }


def failed_slots(rows: Sequence[BuildRow]) -> str:
    """The slots that failed to build, a line each: what a repair has to do."""
    return "".join(f"{row.slot}\n" for row in rows if row.status == "failed")


def write_records(folders: Sequence[Path], rows: Sequence[BuildRow], builds: Mapping[int, Build]) -> None:
    """A file per slot for people to read: the build, or the row that says why there is none."""
    for folder in folders:
        for row in rows:
            write_value(folder / f"{row.slot}.json", builds.get(row.slot, row))


def _row(candidate: Candidate, build: Build | None, key: BuildKey | None) -> BuildRow:
    place = candidate.model_dump(include={"round", "attempt", "slot", "kernel"})
    if build is None or key is None:
        return BuildRow(**place, status="none", reason=candidate.reason)
    if isinstance(build, BuildFailed):
        return BuildRow(**place, status="failed", phase=build.phase, reason=build.reason, build=key.digest())
    return BuildRow(**place, status="built", fingerprint=build.fingerprint, build=key.digest())


def _identity(row: BuildRow) -> str:
    return row.fingerprint or row.kernel


def _name(row: BuildRow) -> str:
    return candidate_name(row.round, row.attempt, row.slot)
