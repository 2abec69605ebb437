"""Keep what a finished search found where a later start of the same run replaces it."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path

from pydantic import JsonValue

from kopt.artifact import canonical_json, read_value
from kopt.config import Config
from kopt.errors import ConfigError, CorruptArtifact
from kopt.model.problem import Problem
from kopt.report.numbers import time_text
from kopt.report.record import FinalFigures
from kopt.run.layout import MANIFEST
from kopt.run.manifest import DERIVED, UNRECORDED, Manifest, configuration_of

EARLIER = "earlier_"
"""Begin of the name of a folder, in a run's folder, with the results of a search that ended there; a number follows."""
BEST, FINAL, PROBLEM = "best_kernel.py", "final.json", "problem.json"
KEPT = (BEST, FINAL, "trials.parquet", "report.html", MANIFEST, PROBLEM)
"""Files of a finished search that are kept."""
ELSEWHERE = ("run", "results", "store", "problems", "problem", "chunk_size", "workers_per_gpu", *DERIVED, *UNRECORDED)
"""Settings on which no result depends, and values that follow from others."""
MOST_NAMED = 4
"""Most settings that a note names."""


def finished_figures(folder: Path) -> FinalFigures | None:
    """Return the figures of the search that ended in a folder; None where none did, or where they cannot be read."""
    try:
        return read_value(folder / FINAL, FinalFigures) if (folder / BEST).is_file() else None
    except (OSError, CorruptArtifact):
        return None


def replacing(run: Path, config: Config, problem: Problem) -> str:
    """Say what a start changes in a run that has ended, and where its results go; empty where it changes nothing.

    Args:
        run: the run's folder.
        config: the settings of the start.
        problem: the problem as it is now.
    """
    figures = finished_figures(run)
    if figures is None:
        return ""
    changes = list(_changes(run, config, problem))
    if not changes:
        return ""
    more = f" and {len(changes) - MOST_NAMED} more" if changes[MOST_NAMED:] else ""
    return (
        f"{run} holds a finished search ({time_text(figures.best_ms, figures.estimated)}), from which this one differs "
        f"in {', '.join(changes[:MOST_NAMED])}{more}: its results are kept in {_next(run)} before they are replaced; "
        "to leave the run as it is, name this one otherwise (run=NAME, kopt run --name NAME)"
    )


def keep(run: Path) -> Path | None:
    """Copy the results of a finished search aside, whole or not at all, and return the folder that holds them.

    Returns:
        None where no search has ended.

    Raises:
        ConfigError: they cannot be copied.
    """
    if finished_figures(run) is None:
        return None
    for folder in _folders(run):
        if _same(run, folder):
            return folder
    folder = _next(run)
    try:
        with tempfile.TemporaryDirectory(prefix=f".{EARLIER}", dir=run) as scratch:
            whole = Path(scratch) / "whole"
            whole.mkdir()
            for name in KEPT:
                with suppress(FileNotFoundError):
                    shutil.copy2(run / name, whole / name)
            whole.rename(folder)
    except OSError as error:
        raise ConfigError(
            f"the results of {run} cannot be kept in {folder} before they are replaced ({error.strerror or error}): "
            "make room, or name this run otherwise (run=NAME, kopt run --name NAME)"
        ) from error
    return folder


def after(run: Path, kept: Path) -> str:
    """Say where the results that were kept are the faster ones; remove them where the run has made the same again.

    Args:
        run: the folder of a run that has ended.
        kept: what `keep` returned before.
    """
    if _same(run, kept):
        shutil.rmtree(kept, ignore_errors=True)
        return ""
    before, now = finished_figures(kept), finished_figures(run)
    if before is None or now is None or before.best_ms >= now.best_ms or not _comparable(run, kept):
        return ""
    times = [time_text(one.best_ms, one.estimated) for one in (before, now)]
    return f"the earlier result was faster, {times[0]} where this one takes {times[1]}: {kept / BEST}"


def _changes(run: Path, config: Config, problem: Problem) -> Iterator[str]:
    """Yield the settings, and what else, in which a start differs from the search that ended in a run's folder."""
    with suppress(OSError, CorruptArtifact):
        held = read_value(run / PROBLEM, Problem)
        if held.model_dump(exclude={"seed"}) != problem.model_dump(exclude={"seed"}):
            yield "the problem, which was edited"
        elif problem.has_seed and held.seed != problem.seed:
            yield "the seed kernel"
    with suppress(OSError, CorruptArtifact):
        yield from _unlike(read_value(run / MANIFEST, Manifest).configuration, configuration_of(config))


def _unlike(before: Mapping[str, JsonValue], now: Mapping[str, JsonValue]) -> Iterator[str]:
    for name, value in now.items():
        if name not in ELSEWHERE and before.get(name) != value:
            yield f"{name} ({_short(before.get(name))} -> {_short(value)})"


def _short(value: JsonValue) -> str:
    text = value if isinstance(value, str) else canonical_json(value)
    return text if len(text) <= 40 else f"{text[:37]}..."


def _comparable(one: Path, other: Path) -> bool:
    """Return whether two searches solved one problem, under one judge and on one device."""
    try:
        problems = [read_value(folder / PROBLEM, Problem).model_dump(exclude={"seed"}) for folder in (one, other)]
        manifests = [read_value(folder / MANIFEST, Manifest) for folder in (one, other)]
    except (OSError, CorruptArtifact):
        return False
    judges = [(manifest.configuration.get("backend"), manifest.device) for manifest in manifests]
    return problems[0] == problems[1] and judges[0] == judges[1]


def _same(one: Path, other: Path) -> bool:
    """Return whether two folders have the same best kernel, with the same figures."""
    try:
        return all((one / name).read_bytes() == (other / name).read_bytes() for name in (BEST, FINAL))
    except OSError:
        return False


def _folders(run: Path) -> list[Path]:
    """Return the folders of earlier results, in order of their numbers."""
    found = [path for path in run.glob(f"{EARLIER}*") if path.name.removeprefix(EARLIER).isdecimal()]
    return sorted(found, key=lambda path: int(path.name.removeprefix(EARLIER)))


def _next(run: Path) -> Path:
    last = _folders(run)[-1:]
    return run / f"{EARLIER}{1 + max((int(path.name.removeprefix(EARLIER)) for path in last), default=0)}"
