"""Collect what the report shows of a run, and write the report: one page of HTML."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import yaml

from kopt.artifact import read_value, write_text
from kopt.config import Config
from kopt.errors import CorruptArtifact, StoreError
from kopt.estimate.eager import estimate_eager
from kopt.jobs.kernels import kernel_source
from kopt.model.diagnosis import Diagnosis, Direction, ParentProfile, Profile
from kopt.model.outcome import BEST
from kopt.model.trial import Trial
from kopt.prompts.facts import METRICS
from kopt.provenance import versions
from kopt.report.details import ChangedFact, Exchange, KernelDetail, KernelTime, LaunchFacts, Roof
from kopt.report.lineage import first_of_kernel
from kopt.report.record import Diagnosed, RunRecord
from kopt.report.render import opened_kernels, render
from kopt.roofline import matmul_tflop_s
from kopt.run.final import final_figures
from kopt.run.job_times import job_spans
from kopt.run.layout import round_folders
from kopt.run.manifest import UNRECORDED
from kopt.run.so_far import RunSoFar
from kopt.run.started import started
from kopt.run.value import Run
from kopt.run_settings import RunSettings
from kopt.store import Store
from kopt.view.circumstances import command_again, proposers_in_words, workload_sizes
from kopt.view.compare import difference
from kopt.view.fate import fates
from kopt.view.kernel import KernelView
from kopt.view.of_run import view_of_trial

Ask = Callable[[str, RunSoFar], Exchange | None]
"""Return the prompt and the reply that the candidate of a name came from."""


def no_exchange(name: str, run: RunSoFar) -> None:
    """Return no exchange: the `Ask` of a run without language models."""


def write_report(run: Run, store: Store, folder: Path, path: Path, ask: Ask = no_exchange) -> None:
    """Write the report of a finished run.

    Args:
        run: the run.
        store: the run's store.
        folder: the run's folder, for profiles and times of jobs.
        path: the page to write.
        ask: finds prompts and replies.
    """
    write_text(path, render(report_record(run, store, folder, ask)))


def report_record(run: Run, store: Store, folder: Path, ask: Ask = no_exchange) -> RunRecord:
    """Collect everything that the report shows of a run; arguments as of `write_report`."""
    config, settings = run.config, RunSettings(run.config)
    record = RunRecord(
        run=run.name,
        problem=run.problem.name,
        preset=config.preset,
        models=settings.proposers,
        strategy=config.strategy,
        clustering=settings.clustering,
        seed=config.seed,
        judge=settings.backend,
        device=run.device.name,
        configuration=_configuration(config, measures=settings.measures),
        versions=versions(),
        measured_with=run.outcome.finals.timings[BEST].environment if run.outcome else None,
        command=command_again(started(folder), run),
        proposers=proposers_in_words(run, folder),
        asked_to_fix={trial.name: one.bottleneck for trial in run.trials if (one := _followed(trial, run))},
        counters=METRICS,
        rounds=run.summaries,
        trials=tuple(run.trials),
        selections=tuple(tuple(round.selection) for round in run.rounds),
        best_source=kernel_source(run.best.kernel, store),
        seed_source=run.problem.seed.source,
        final=final_figures(run),
        taxonomy=tuple(run.taxonomy),
        costs=tuple(run.models.costs),
        diagnoses=_diagnosed(run),
        agreed=tuple(run.models.agreed),
        lessons=tuple(run.models.lessons),
        jobs=job_spans(folder, holds_gpus=settings.holds_gpus),
        roofs=_roofs(run),
    )
    kernels = _details(opened_kernels(record), run, store, folder, ask)
    best = next((kernel for kernel in kernels if kernel.name == record.final.best_name), None)
    checks = best.checks if best else ()
    return record.model_copy(update={"kernels": kernels, "workloads": workload_sizes(run, checks)})


def _configuration(config: Config, *, measures: bool) -> str:
    """Write the settings as YAML that starts a run; the device of estimates is left out where times are measured."""
    left_out = {*UNRECORDED, *(["device"] if measures else [])}
    return yaml.safe_dump(config.model_dump(mode="json", exclude=left_out), sort_keys=True)


def _diagnosed(run: Run) -> tuple[Diagnosed, ...]:
    """Return the diagnosis of each parent with its source; a place without a parent has none."""
    return tuple(
        Diagnosed(
            round=number,
            place=place + 1,
            parent=round.selection[place].origin,
            source=diagnosis.source,
            bottlenecks=tuple(direction.bottleneck for direction in diagnosis.directions),
        )
        for number, round in enumerate(run.rounds)
        for place, diagnosis in enumerate(round.diagnoses)
        if diagnosis.kernel
    )


def _roofs(run: Run) -> tuple[Roof, ...]:
    eager = estimate_eager(run.facts, run.device) if run.outcome is None else None
    timed = {one.workload: one.ms for one in eager.workloads} if eager else {}
    if run.outcome and "eager" in run.outcome.finals.timings:
        timed = {one.workload: one.median_ms for one in run.outcome.finals.timings["eager"].workloads}
    return tuple(
        Roof(
            workload=facts.workload,
            bytes=facts.bytes,
            flops=facts.matmul_flops + facts.vector_flops,
            gb_s=run.device.copy_gb_s,
            tflop_s=(matmul_tflop_s(run.device, run.facts.dtype) if facts.matmul_flops else run.device.vector_tflop_s),
            eager_ms=timed.get(facts.workload),
        )
        for facts in run.facts.workloads
    )


def _details(
    names: Iterable[str], run: Run, store: Store, folder: Path, ask: Ask
) -> tuple[KernelDetail, ...]:  # fmt: skip
    """Collect what is known of the named candidates; one whose source is gone is left out."""
    so_far, views = finished_as_so_far(run, folder), dict[str, KernelView]()
    named, first = {trial.name: trial for trial in run.trials}, first_of_kernel(run.trials)
    profiles = _profiles(run, folder)
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
                    "followed": _followed(trial, run),
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
        changed=_changed(own, parent) if parent else (),
        checks=own.checks,
        times=tuple(
            KernelTime(
                workload=one.workload, ms=one.ms, low_ms=one.low_ms, high_ms=one.high_ms, floor_ms=one.floor_ms,
                notes="; ".join([*([f"bound by {one.bound}"] if one.bound else []), *one.notes]),
            )
            for one in own.times
        ),
    )  # fmt: skip


def _changed(own: KernelView, parent: KernelView) -> tuple[ChangedFact, ...]:
    differs = difference(parent, own)
    launches = [
        ChangedFact(where=f"{launch.kernel}, {one.workload}", name=fact.name, before=fact.before, after=fact.after)
        for one in differs.launches
        for fact in one.changed
        for launch in [one.after or one.before]
        if launch is not None
    ]
    counts = [
        ChangedFact(
            where="PTX", name=one.kind, before=f"{one.before} ({one.before_in_loops} in loops)",
            after=f"{one.after} ({one.after_in_loops} in loops)",
        )
        for one in differs.instructions
    ]  # fmt: skip
    return (*launches, *counts)


def finished_as_so_far(run: Run, folder: Path) -> RunSoFar:
    """Return a finished run as one whose files are read as they stand."""
    return RunSoFar(
        folder=folder, config=run.config, started=None, working=None, steps=(), done=(), problem=run.problem,
        facts=run.facts, device=run.device, rounds=run.rounds, begun=None, baseline=None, outcome=run.outcome,
        taxonomy=run.taxonomy,
    )  # fmt: skip


def _profiles(run: Run, folder: Path) -> dict[str, Profile]:
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


def _followed(trial: Trial, run: Run) -> Direction | None:
    """Return the direction of the parent's diagnosis that a candidate was asked to follow."""
    diagnoses: Sequence[Diagnosis] = run.rounds[trial.round - 1].diagnoses if trial.round else ()
    directions = [one for diagnosis in diagnoses if diagnosis.kernel == trial.parent for one in diagnosis.directions]
    return next((one for one in directions if one.rank == trial.bottleneck), None)
