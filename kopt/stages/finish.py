"""Stage `finish`: write the exports of a run, and summarise the run for the terminal."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from kopt.discovery import modules_of
from kopt.jobs.experience import keep_experience
from kopt.jobs.recorded import measurements_in
from kopt.jobs.tried import tried_before
from kopt.report.status_lines import note_on
from kopt.report.terminal import final_lines
from kopt.rewrite.experience import Experience
from kopt.run.final import final_figures
from kopt.run.results import result_digests, same_results_line
from kopt.run.value import Run
from kopt.run_settings import RunSettings
from kopt.store import Store

Export = Callable[[Run, Store, Path], None]
"""Write one file of a run, at the given path."""


def exports() -> dict[str, Export]:
    """Return all exports by name: the `write` of each module of `kopt.exports`."""
    return {name: module.write for name, module in modules_of("kopt.exports").items()}


def write_exports(run: Run, store: Store, paths: Mapping[str, Path]) -> None:
    """Write every export.

    Args:
        run: the finished run.
        store: the run's store.
        paths: the file of each export, by the export's name.
    """
    for name, write in exports().items():
        write(run, store, paths[name])


def lines(run: Run, files: Mapping[str, str], store: Store, shortfall: str = "") -> str:
    """Write the last lines of the run for the terminal: its best kernel, times and files.

    Args:
        run: the finished run.
        files: paths of the exports by name, listed at the end.
        store: holds the recording of a replayed run.
        shortfall: why its best kernel is far from the roofline; empty where it is not.
    """
    figures = final_lines(
        final_figures(run), model=run.best.model, files=files, rounds=run.summaries, shortfall=shortfall
    )
    settings = RunSettings(run.config)
    rows = [("note", f"{note} (judge {settings.backend})")] if (note := note_on(settings.backend)) else []
    if settings.replayed:
        rows.append(("results", same_results_line(result_digests(run), measurements_in(store).results)))
    return "\n".join([*(f"{name:<14} {text}" for name, text in rows), *figures])


def keep_what_was_learned(run: Run, store: Store) -> None:
    """Keep in the store what the run found about the rewriter's transformations, for later runs."""
    tables = [round.tables for round in run.rounds]
    tried = tried_before(
        len(run.rounds),
        [candidate for each in tables for candidate in each.candidates],
        [build for each in tables for build in each.builds],
        [evaluation for each in tables for evaluation in each.evaluations],
    )
    keep_experience(Experience(tried), run.problem, run.facts, run.device, run.config.judge, store)
