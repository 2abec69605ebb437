"""Write the report of the run, one page of HTML."""

from __future__ import annotations

from pathlib import Path

import yaml

from kopt.artifact import write_text
from kopt.jobs.kernels import kernel_source
from kopt.provenance import versions
from kopt.report.record import Diagnosed, RunRecord
from kopt.report.render import render
from kopt.run.final import final_figures
from kopt.run.manifest import configuration_of
from kopt.run.value import Run
from kopt.run_settings import RunSettings
from kopt.store import Store


def write(run: Run, store: Store, path: Path) -> None:
    """Write the run's report."""
    write_text(path, render(record_of(run, store)))


def record_of(run: Run, store: Store) -> RunRecord:
    """Collect everything that the report shows of a run."""
    config, settings = run.config, RunSettings(run.config)
    return RunRecord(
        run=run.name,
        problem=run.problem.name,
        preset=config.preset,
        models=settings.proposers,
        strategy=config.strategy,
        clustering=settings.clustering,
        seed=config.seed,
        judge=settings.backend,
        device=run.device.name,
        configuration=yaml.safe_dump(configuration_of(config), sort_keys=True),
        versions=versions(),
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
    )


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
