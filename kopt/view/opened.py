"""Collect what the report shows of each kernel that opens on it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from kopt.artifact import read_value
from kopt.errors import CorruptArtifact, StoreError
from kopt.model.diagnosis import Diagnosis, Direction, ParentProfile, Profile
from kopt.model.trial import Trial
from kopt.report.details import Exchange, KernelDetail, KernelTime, LaunchFacts
from kopt.report.lineage import first_of_kernel
from kopt.run.layout import round_folders
from kopt.run.so_far import RunSoFar
from kopt.run.value import Run
from kopt.run_settings import RunSettings
from kopt.store import Store
from kopt.view.changes import changed_facts, changes_in_short
from kopt.view.fate import fates
from kopt.view.kernel import KernelView
from kopt.view.of_run import view_of_trial

Ask = Callable[[str, RunSoFar], Exchange | None]
"""Return the prompt and the reply that the candidate of a name came from."""


def details_of(names: Iterable[str], run: Run, store: Store, folder: Path, ask: Ask) -> tuple[KernelDetail, ...]:
    """Collect what is known of the named candidates; one whose source is gone is left out.

    Args:
        names: names of candidates.
        run: the run.
        store: the run's store.
        folder: the run's folder, for profiles.
        ask: finds prompts and replies.
    """
    so_far, views = finished_as_so_far(run, folder), dict[str, KernelView]()
    named, first = {trial.name: trial for trial in run.trials}, first_of_kernel(run.trials)
    profiles = profiles_of(run, folder)
    selection = fates(run)
    diagnoses = {one.kernel: one for round in run.rounds for one in round.diagnoses if one.kernel}

    def view(trial: Trial) -> KernelView:
        if trial.name not in views:
            views[trial.name] = view_of_trial(trial.name, trial, so_far, store, evidence=False)
        return views[trial.name]

    details = []
    for name in names:
        trial = named[name]
        try:
            own, parent = view(trial), view(first[trial.parent]) if trial.parent in first else None
        except StoreError:
            continue
        details.append(
            _detail(trial, own, parent).model_copy(
                update={
                    "profile": profiles.get(trial.kernel),
                    "diagnosis": diagnoses.get(trial.kernel),
                    "selection": selection[name],
                    "followed": followed(trial, run),
                    "exchange": ask(name, so_far),
                }
            )
        )
    return tuple(details)


def _detail(trial: Trial, own: KernelView, parent: KernelView | None) -> KernelDetail:
    return KernelDetail(
        name=trial.name,
        source=own.source,
        parent=own.parent,
        parent_source=parent.source if parent and own.source else "",
        note=own.note,
        launches=tuple(
            LaunchFacts(
                workload=one.workload, kernel=one.kernel, grid="x".join(map(str, one.grid)), warps=one.warps,
                stages=one.stages, registers=one.registers, shared_bytes=one.shared_bytes, spill_bytes=one.spill_bytes,
                occupancy=one.occupancy, constants=", ".join(f"{k}={v}" for k, v in one.constants.items()),
            )
            for one in own.launches
        ),
        changes=changes_in_short(own, parent) if parent else (),
        contradicted=own.contradicted,
        changed=changed_facts(own, parent) if parent else (),
        checks=own.checks,
        times=tuple(
            KernelTime(
                workload=one.workload, ms=one.ms, low_ms=one.low_ms, high_ms=one.high_ms, floor_ms=one.floor_ms,
                notes="; ".join([*([f"bound by {one.bound}"] if one.bound else []), *one.notes]),
            )
            for one in own.times
        ),
    )  # fmt: skip


def finished_as_so_far(run: Run, folder: Path) -> RunSoFar:
    """Return a finished run as one whose files are read as they stand."""
    return RunSoFar(
        folder=folder, config=run.config, started=None, working=None, steps=(), done=(), problem=run.problem,
        facts=run.facts, device=run.device, rounds=run.rounds, begun=None, baseline=None, outcome=run.outcome,
        taxonomy=run.taxonomy,
    )  # fmt: skip


def profiles_of(run: Run, folder: Path) -> dict[str, Profile]:
    """Read the profiles of parents, by kernel digest; a later round's replaces an earlier one's."""
    profiles = {}
    for round in round_folders(folder, RunSettings(run.config))[:-1]:
        for file in sorted((round / "profile").glob("*.json")):
            try:
                one = read_value(file, ParentProfile)
            except (CorruptArtifact, OSError):
                continue
            if one.profile is not None:
                profiles[one.kernel] = one.profile
    return profiles


def followed(trial: Trial, run: Run) -> Direction | None:
    """Return the direction of the parent's diagnosis that a candidate was asked to follow."""
    diagnoses: Sequence[Diagnosis] = run.rounds[trial.round - 1].diagnoses if trial.round else ()
    directions = [one for diagnosis in diagnoses if diagnosis.kernel == trial.parent for one in diagnosis.directions]
    return next((one for one in directions if one.rank == trial.bottleneck), None)
