"""Collect what the report shows of a run, and write the report: one page of HTML."""

from __future__ import annotations

from pathlib import Path

import yaml

from kopt.artifact import write_text
from kopt.config import Config
from kopt.estimate.eager import estimate_eager
from kopt.jobs.kernels import kernel_source
from kopt.model.device import Device
from kopt.model.kernel import candidate_name
from kopt.model.outcome import BEST
from kopt.model.verdict import Passed, Verdict
from kopt.prompts.facts import METRICS
from kopt.provenance import versions
from kopt.report.chosen import opened_kernels
from kopt.report.details import Roof
from kopt.report.record import Baseline, Diagnosed, Limits, RunRecord
from kopt.report.render import render
from kopt.roofline import MATMUL_HEADROOM, STREAM_HEADROOM, fastest_matmul_tflop_s
from kopt.run.final import final_figures
from kopt.run.job_times import job_spans
from kopt.run.manifest import UNRECORDED
from kopt.run.so_far import RunSoFar
from kopt.run.started import started
from kopt.run.value import Run
from kopt.run_settings import RunSettings
from kopt.store import Store
from kopt.view.circumstances import call_of, command_again, folder_named, proposers_in_words, workload_sizes
from kopt.view.limits import limits_of_best
from kopt.view.opened import Ask, details_of, finished_as_so_far, followed


def no_exchange(name: str, run: RunSoFar) -> None:
    """Return no exchange: the `Ask` of a run without language models."""


def write_report(run: Run, store: Store, folder: Path, path: Path, ask: Ask = no_exchange) -> Limits:
    """Write the report of a finished run; return what limits its best kernel, as the report says.

    Args:
        run: the run.
        store: the run's store.
        folder: the run's folder, for profiles and times of jobs.
        path: the page to write.
        ask: finds prompts and replies.
    """
    record = report_record(run, store, folder, ask)
    write_text(path, render(record))
    return record.limits


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
        folder=folder_named(run),
        call=call_of(run, kernel_source(run.best.kernel, store)),
        command=command_again(started(folder), run),
        asks_people=settings.replies == "exchange",
        repairs=config.max_repairs,
        proposers=proposers_in_words(run, folder),
        asked_to_fix={trial.name: one.bottleneck for trial in run.trials if (one := followed(trial, run))},
        counters=METRICS,
        rounds=run.summaries,
        trials=tuple(run.trials),
        same_source=_same_source(run),
        selections=tuple(tuple(round.selection) for round in run.rounds),
        best_source=kernel_source(run.best.kernel, store),
        seed_source=run.problem.seed.source,
        final=final_figures(run),
        baselines=_baselines(run, settings),
        taxonomy=tuple(run.taxonomy),
        costs=tuple(run.models.costs),
        diagnoses=_diagnosed(run),
        agreed=tuple(run.models.agreed),
        lessons=tuple(run.models.lessons),
        jobs=job_spans(folder, rounds=config.rounds, holds_gpus=settings.holds_gpus),
        roofs=_roofs(run),
    )
    kernels = details_of(opened_kernels(record), run, store, folder, ask)
    best = next((kernel for kernel in kernels if kernel.name == record.final.best_name), None)
    known = (best.profile, best.diagnosis) if best and best.profile and best.diagnosis else None
    return record.model_copy(
        update={
            "kernels": kernels,
            "workloads": workload_sizes(run, best.checks if best else ()),
            "limits": limits_of_best(run, finished_as_so_far(run, folder), store, known),
        }
    )


def _baselines(run: Run, settings: RunSettings) -> tuple[Baseline, ...]:
    """List PyTorch's ways that the settings name and of which no time was measured."""
    if run.outcome:
        finals = run.outcome.finals
        return tuple(
            Baseline(name=name, ms=None, origin=_why_not_measured(finals.verdicts.get(name)))
            for name in run.config.baselines
            if name not in finals.timings
        )
    if settings.backend.startswith("dry"):
        return ()
    eager = estimate_eager(run.facts, run.device)
    number = sum(bool(one.bytes) for one in run.facts.workloads[0].eager_ops) if eager else 0
    operations = f"{number} operation{'' if number == 1 else 's, each on its own'}"
    origins = {
        "eager": (
            f"the bytes and arithmetic of the reference: {operations}, at {_rates(run.device)}" if eager
            else "not estimated: the cost of an operation of the reference is not known"
        ),
    }  # fmt: skip
    return tuple(
        Baseline(
            name=name, ms=eager.objective_ms if eager and name == "eager" else None,
            origin=origins.get(name, "not estimated: it has to run on a GPU"),
        )
        for name in run.config.baselines
    )  # fmt: skip


def _rates(device: Device) -> str:
    return "the rates that were measured on this GPU" if device.measured else "the rates of the device's description"


def _why_not_measured(verdict: Verdict | None) -> str:
    if verdict is None or isinstance(verdict, Passed):
        return "not measured: no time of it is on record"
    return f"not measured: {verdict.reason}"


def _same_source(run: Run) -> dict[str, str]:
    """Find by name of a candidate the first one whose source is the same but for names and comments."""
    first: dict[str, str] = {}
    same: dict[str, str] = {}
    for row in (row for round in run.rounds for row in round.tables.builds if row.form):
        name = candidate_name(row.round, row.attempt, row.slot)
        if first.setdefault(row.form, name) != name:
            same[name] = first[row.form]
    return same


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
            gb_s=run.device.copy_gb_s * STREAM_HEADROOM,
            tflop_s=(
                fastest_matmul_tflop_s(facts, run.device, run.facts.dtype) * MATMUL_HEADROOM
                if facts.matmul_flops
                else run.device.vector_tflop_s
            ),
            eager_ms=timed.get(facts.workload),
        )
        for facts in run.facts.workloads
    )
