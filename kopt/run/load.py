"""Load a finished run from its folder alone: the layout of a run's folder, and its ledger.

    results/<run>/
        problem.json facts.json device.json manifest.json   outcome.json (on a GPU)
        round_<r>/
            round.json selection.parquet ranking.parquet techniques.parquet
            attempt_<a>/candidates.parquet builds.parquet evaluation_<chunk>.parquet
            diagnosis/<place>.json                           (not after the last round)
            briefing.json agreement.json costs/<job>.parquet (with language models)

Texts (kernel sources, PTX) lie in the store, under the digests that the tables name.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from kopt.artifact import read_value
from kopt.backends.backend import load_backend
from kopt.config import Config
from kopt.errors import ConfigError
from kopt.jobs.asker import LEDGER
from kopt.llm.ledger import Ledger
from kopt.run.manifest import Manifest
from kopt.run.model_summary import read_model_summary
from kopt.run.read import RunFiles, read_run
from kopt.run.value import NO_MODELS, ModelSummary, Run
from kopt.run_settings import RunSettings

MANIFEST = "manifest.json"


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
    config = manifest.config
    return read_run(
        files_of(folder, config),
        name=manifest.run,
        config=config,
        taxonomy=manifest.taxonomy,
        models=_model_summary(folder, config),
    )


def load_ledger(folder: Path) -> Ledger:
    """Load the ledger of a run, finished or not.

    Raises:
        ConfigError: the folder has none.
    """
    if not (folder / LEDGER).is_file():
        raise ConfigError(f"{folder} has no {LEDGER}: name the folder of a run that asked language models")
    ledger = Ledger(folder / LEDGER)
    ledger.refresh()
    return ledger


def files_of(folder: Path, config: Config) -> RunFiles:
    """List the files that a run is read from, by its settings: leftovers of other settings are not listed."""
    rounds = [folder / f"round_{round}" for round in range(config.rounds + 1)]
    attempts = [(round, attempt) for round in range(config.rounds + 1) for attempt in _attempts(round, config)]
    places = range(config.candidate_pool_size)
    settings = RunSettings(config)
    backend = load_backend(settings.backend)

    def chunks(attempt: int) -> int:
        return backend.chunks(settings.fan_out, config.chunk_size, attempt)

    return RunFiles(
        problem=folder / "problem.json",
        facts=folder / "facts.json",
        device=folder / "device.json",
        summaries=[round / "round.json" for round in rounds],
        selections=[round / "selection.parquet" for round in rounds],
        rankings=[round / "ranking.parquet" for round in rounds],
        techniques=[round / "techniques.parquet" for round in rounds],
        candidates=[rounds[round] / f"attempt_{attempt}" / "candidates.parquet" for round, attempt in attempts],
        builds=[rounds[round] / f"attempt_{attempt}" / "builds.parquet" for round, attempt in attempts],
        evaluations=[
            rounds[round] / f"attempt_{attempt}" / f"evaluation_{chunk}.parquet"
            for round, attempt in attempts
            for chunk in range(chunks(attempt) if round else 1)
        ],
        diagnoses=[round / "diagnosis" / f"{place}.json" for round in rounds[:-1] for place in places],
        outcome=[folder / "outcome.json"] if backend.measures else [],
    )


def _attempts(round: int, config: Config) -> range:
    """Attempts of a round; the seed is never repaired."""
    return range(config.max_repairs + 1 if round else 1)


def _model_summary(folder: Path, config: Config) -> ModelSummary:
    if not RunSettings(config).asked_models:
        return NO_MODELS
    rounds = [folder / f"round_{round}" for round in range(config.rounds + 1)]
    both = RunSettings(config).classification == "both"
    return read_model_summary(
        costs=[
            rounds[round] / "costs" / f"{job}.parquet"
            for round in range(config.rounds + 1)
            for job in _asking_jobs(round, config)
        ],
        agreements=[round / "agreement.json" for round in rounds if both],
        briefings=[round / "briefing.json" for round in rounds[:-1]],
    )


def _asking_jobs(round: int, config: Config) -> Iterator[str]:
    """Name the jobs of a round that ask language models."""
    if round > 0:
        yield from (f"generate_{attempt}" for attempt in _attempts(round, config))
    if RunSettings(config).classifier:
        yield "classify"
    if RunSettings(config).reflector and round < config.rounds:
        yield "brief"
    if RunSettings(config).diagnoser and round < config.rounds:
        yield "diagnose"
