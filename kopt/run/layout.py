"""Name the files of a run's folder by the run's settings, and the steps that make them, in the order of the work."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from kopt.backends.backend import load_backend
from kopt.run_settings import RunSettings

MANIFEST = "manifest.json"
"""File that rule finish writes last of all steps."""
EARLIER = "earlier_"
"""Begin of the name of a folder, in a run's folder, that keeps a search that ended there; a number follows."""
PHASES = {
    "problem": "reading the problem and the device",
    "baseline": "timing PyTorch's own ways",
    "expand": "sharing out the slots",
    "propose": "proposing",
    "repair": "repairing",
    "build": "building",
    "judge": "judging",
    "rank": "ranking",
    "classify": "classifying",
    "select": "selecting",
    "profile": "profiling",
    "brief": "collecting lessons",
    "diagnose": "diagnosing",
    "outcome": "measuring the outcome",
    "finish": "writing the report",
}
"""Describes what a run does in each step, by the step's name."""


@dataclass(frozen=True)
class Step:
    """A step of a run, done when all of its files exist."""

    name: str
    """A key of `PHASES`."""
    files: tuple[Path, ...]
    round: int = 0
    """Steps after the last round have the number that follows it."""
    attempt: int = 0


def is_earlier(folder: Path) -> bool:
    """Return whether a folder keeps an earlier search of the run in whose folder it lies."""
    name = folder.resolve().name
    return name.startswith(EARLIER) and name.removeprefix(EARLIER).isdecimal()


def round_folders(folder: Path, settings: RunSettings) -> list[Path]:
    """Return the folders of all rounds, from round 0."""
    return [folder / f"round_{round}" for round in range(settings.config.rounds + 1)]


def attempts_of(round: int, settings: RunSettings) -> range:
    """Return the attempts of a round; the seed is never repaired."""
    return range(settings.config.max_repairs + 1 if round else 1)


def evaluation_files(attempt_folder: Path, round: int, attempt: int, settings: RunSettings) -> list[Path]:
    """List the evaluation tables of an attempt, one for each chunk."""
    backend = load_backend(settings.backend)
    chunks = backend.chunks(settings.fan_out, settings.chunk_size, attempt) if round else 1
    return [attempt_folder / f"evaluation_{chunk}.parquet" for chunk in range(chunks)]


def steps_of(folder: Path, settings: RunSettings) -> list[Step]:
    """List all steps of a run, in the order of the work."""
    asks, measures = bool(settings.asked_models), settings.measures
    first = [folder / name for name in ("problem.json", "facts.json", "device.json")]
    steps = [Step("problem", (*first, *([folder / "models.json"] if asks else [])))]
    for round in range(settings.config.rounds + 1):
        steps += _steps_of_round(folder / f"round_{round}", round, settings)
        if measures and round == 0:
            steps.append(Step("baseline", (folder / "baseline.json",)))
    if measures:
        steps.append(Step("outcome", (folder / "outcome.json",), settings.config.rounds + 1))
    last = [folder / name for name in ("best_kernel.py", "final.json", "trials.parquet", "report.html", MANIFEST)]
    return [*steps, Step("finish", tuple(last), settings.config.rounds + 1)]


def _steps_of_round(folder: Path, round: int, settings: RunSettings) -> Iterator[Step]:
    if round:
        yield Step("expand", (folder / "slots.parquet",), round)
    for attempt in attempts_of(round, settings):
        path = folder / f"attempt_{attempt}"
        yield Step("repair" if attempt else "propose", (path / "candidates.parquet",), round, attempt)
        yield Step("build", (path / "builds.parquet",), round, attempt)
        yield Step("judge", tuple(evaluation_files(path, round, attempt, settings)), round, attempt)
    yield Step("rank", (folder / "ranking.parquet",), round)
    yield Step("classify", (folder / "techniques.parquet",), round)
    yield Step("select", tuple(folder / name for name in ("selection.parquet", "archive.json", "round.json")), round)
    if round < settings.config.rounds:
        places = range(settings.config.candidate_pool_size)
        yield Step("profile", tuple(folder / "profile" / f"{place}.json" for place in places), round)
        if settings.asked_models:
            yield Step("brief", (folder / "briefing.json",), round)
        yield Step("diagnose", tuple(folder / "diagnosis" / f"{place}.json" for place in places), round)
