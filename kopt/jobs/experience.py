"""Keep what a run found in the store, and choose what of earlier runs that a new run takes along."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from kopt import artifact
from kopt.artifact import read_values
from kopt.jobs.keys import ExperienceKey
from kopt.jobs.target import ProblemOnTarget
from kopt.model.device import Device
from kopt.model.problem import Problem, ProblemFacts
from kopt.model.proposers import EarlierRuns, Kind, RunExperience
from kopt.provenance import code_digest
from kopt.rewrite.earlier_runs import effects_of
from kopt.rewrite.experience import Experience
from kopt.store import Store, item_files

JUDGES = ("cuda", "interpret")
"""Backends whose times teach something: others make them up, or repeat them."""

OPERATIONS_PER_BYTE = 32.0
"""Operations of matrix products for each byte that a problem must move, beyond which products decide its time."""
REDUCED = 0.25
"""Bytes of outputs relative to those of inputs, up to which a problem counts as reducing."""


def kind_of(facts: ProblemFacts) -> Kind:
    """Say of which kind a problem is."""
    moved = sum(workload.bytes for workload in facts.workloads)
    if sum(workload.matmul_flops for workload in facts.workloads) > OPERATIONS_PER_BYTE * moved:
        return "products"
    read = sum(workload.input_bytes for workload in facts.workloads)
    written = sum(workload.output_bytes for workload in facts.workloads)
    return "reducing" if written <= REDUCED * read else "keeping"


def keep_experience(
    experience: Experience, problem: Problem, facts: ProblemFacts, device: Device, judge: str, store: Store
) -> None:
    """Keep what a run found, for later runs on the same store; a run that tried nothing leaves nothing.

    Args:
        experience: what the run tried.
        problem: its problem.
        facts: facts of the problem.
        device: the device that its times hold for.
        judge: the backend that found the times.
        store: the run's store.
    """
    effects = effects_of(experience) if judge in JUDGES else ()
    if effects:
        key = ExperienceKey(
            problem=artifact.digest(problem), device=device.name, judge=judge,
            tried=Experience(experience.tried).digest, code=code_digest("kopt.rewrite.earlier_runs"),
        )  # fmt: skip
        store.shelf(RunExperience).put(
            key,
            RunExperience(
                problem=key.problem, kind=kind_of(facts), device=device.name, judge=judge, effects=effects
            ),
        )  # fmt: skip


def take_along(judge: str, target: ProblemOnTarget, files: Sequence[Path]) -> EarlierRuns:
    """Return the experience that a run takes along.

    Args:
        judge: the backend that will find the run's times.
        target: the run's problem and device, and the store.
        files: the file of experience; none where it comes from the store.

    Raises:
        CorruptArtifact: the file holds no experience.
    """
    runs = [run for earlier in read_values(files, EarlierRuns) for run in earlier.runs]
    if not files:
        runs = _found(target.device, judge, target.store)
    return EarlierRuns(problem=artifact.digest(target.problem), kind=kind_of(target.facts), runs=tuple(runs))


def _found(device: Device, judge: str, store: Store) -> list[RunExperience]:
    """Choose from the store what was found on such a device with such a judge, in an order that follows from it."""
    found = {artifact.digest(each): each for each in _kept(store) if each.device == device.name and each.judge == judge}
    return [found[name] for name in sorted(found)]


def _kept(store: Store) -> Iterator[RunExperience]:
    shelf = store.shelf(RunExperience)
    for path in item_files(store.root / ExperienceKey.kind):
        found = shelf.named(ExperienceKey, path.stem)
        if found is not None:
            yield found
