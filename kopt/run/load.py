"""Load a finished run from its folder alone: the layout of a run's folder, and its ledger.

    results/<run>/
        problem.json facts.json device.json manifest.json   outcome.json (on a GPU)
        round_<r>/
            round.json selection.parquet archive.json ranking.parquet techniques.parquet
            attempt_<a>/candidates.parquet builds.parquet evaluation_<chunk>.parquet
            diagnosis/<place>.json                           (not after the last round)
            briefing.json agreement.json costs/<job>.parquet (with language models)

Texts (kernel sources, PTX) lie in the store, under the digests that the tables name.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from kopt.artifact import read_value
from kopt.errors import ConfigError
from kopt.jobs.asker import LEDGER
from kopt.llm.ledger import Ledger
from kopt.run.layout import MANIFEST, attempts_of, evaluation_files, round_folders
from kopt.run.manifest import Manifest
from kopt.run.model_summary import read_model_summary
from kopt.run.read import RunFiles, read_run
from kopt.run.value import NO_MODELS, ModelSummary, Run
from kopt.run_settings import RunSettings


def load_run(folder: Path) -> Run:
    """Load a finished run.

    Raises:
        ConfigError: the folder holds no finished run.
        CorruptArtifact: a file is torn or holds something else.
        TableError: a table has other columns.
    """
    if not (folder / MANIFEST).is_file():
        raise ConfigError(f"{folder} has no {MANIFEST}: name the folder of a run that has ended")
    manifest = read_value(folder / MANIFEST, Manifest)
    settings = RunSettings(manifest.config)
    return read_run(
        files_of(folder, settings),
        name=manifest.run,
        config=manifest.config,
        taxonomy=manifest.taxonomy,
        models=_model_summary(folder, settings) if settings.asked_models else NO_MODELS,
    )


def load_ledger(folder: Path) -> Ledger:
    """Load the ledger of a run, finished or not.

    Raises:
        ConfigError: the folder has none.
    """
    if not (folder / LEDGER).is_file():
        raise ConfigError(
            f"{folder} has no {LEDGER}: this run asked no language model, so it has no replies and no costs"
        )
    ledger = Ledger(folder / LEDGER)
    ledger.refresh()
    return ledger


def files_of(folder: Path, settings: RunSettings) -> RunFiles:
    """List the files that a run is read from, by its settings: leftovers of other settings are not listed."""
    rounds, places = round_folders(folder, settings), range(settings.config.candidate_pool_size)
    attempts = [
        (round, attempt, rounds[round] / f"attempt_{attempt}")
        for round in range(len(rounds))
        for attempt in attempts_of(round, settings)
    ]
    return RunFiles(
        problem=folder / "problem.json",
        facts=folder / "facts.json",
        device=folder / "device.json",
        summaries=[round / "round.json" for round in rounds],
        selections=[round / "selection.parquet" for round in rounds],
        rankings=[round / "ranking.parquet" for round in rounds],
        techniques=[round / "techniques.parquet" for round in rounds],
        candidates=[path / "candidates.parquet" for _, _, path in attempts],
        builds=[path / "builds.parquet" for _, _, path in attempts],
        evaluations=[
            file for round, attempt, path in attempts for file in evaluation_files(path, round, attempt, settings)
        ],
        diagnoses=[round / "diagnosis" / f"{place}.json" for round in rounds[:-1] for place in places],
        outcome=[folder / "outcome.json"] if settings.measures else [],
    )


def _model_summary(folder: Path, settings: RunSettings) -> ModelSummary:
    rounds = round_folders(folder, settings)
    both = settings.classification == "both"
    return read_model_summary(
        costs=[
            path / "costs" / f"{job}.parquet"
            for round, path in enumerate(rounds)
            for job in _asking_jobs(round, settings)
        ],
        agreements=[round / "agreement.json" for round in rounds if both],
        briefings=[round / "briefing.json" for round in rounds[:-1]],
    )


def _asking_jobs(round: int, settings: RunSettings) -> Iterator[str]:
    """Name the jobs of a round that ask language models."""
    last = round == settings.config.rounds
    if round > 0:
        yield from (f"generate_{attempt}" for attempt in attempts_of(round, settings))
    if settings.classifier:
        yield "classify"
    if settings.reflector and not last:
        yield "brief"
    if settings.diagnoser and not last:
        yield "diagnose"
