"""Keep what a finished search found where a later start of the same run replaces it."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from pydantic import JsonValue

from kopt import locks
from kopt.artifact import canonical_json, read_value
from kopt.config import Config
from kopt.errors import ConfigError, CorruptArtifact
from kopt.model.problem import Problem
from kopt.report.numbers import time_text
from kopt.report.record import FinalFigures
from kopt.run.layout import MANIFEST
from kopt.run.manifest import DERIVED, UNRECORDED, Manifest, configuration_of
from kopt.run.started import WORKING

EARLIER = "earlier_"
"""Begin of the name of a folder, in a run's folder, with the results of a search that ended there; a number follows."""
BEST, FINAL, PROBLEM = "best_kernel.py", "final.json", "problem.json"
RESULTS = (BEST, FINAL, "trials.parquet", "report.html", MANIFEST)
"""Files that the last step of a search writes."""
KEPT = (*RESULTS, PROBLEM)
"""Files of a finished search that are kept."""
ELSEWHERE = ("run", "results", "store", "problems", "problem", "chunk_size", "workers_per_gpu", *DERIVED, *UNRECORDED)
"""Settings on which no result depends, and values that follow from others."""
MOST_NAMED = 4
"""Most settings that a note names."""


@dataclass(frozen=True)
class Kept:
    """Results that a start found in its run's folder, as they are kept."""

    folder: Path
    made: bool
    """Whether this start made the folder; else an earlier one did, which nobody removes."""


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
    held = _folder_of(run)
    where = f"are in {held} already" if held else f"are kept in {_next(run)} before they are replaced"
    more = f" and {len(changes) - MOST_NAMED} more" if changes[MOST_NAMED:] else ""
    return (
        f"{run} holds a finished search ({time_text(figures.best_ms, figures.estimated)}), from which this one differs "
        f"in {', '.join(changes[:MOST_NAMED])}{more}: its results {where}; "
        "to leave the run as it is, name this one otherwise (run=NAME, kopt run --name NAME)"
    )


def keep(run: Path) -> Kept | None:
    """Copy the results of a finished search aside, whole or not at all, where no earlier start has done so.

    Copies that a killed start left unfinished are removed where this process holds the run.

    Returns:
        None where no search has ended.

    Raises:
        ConfigError: they cannot be copied.
    """
    if locks.holds(run / WORKING):
        for left in run.glob(f".{EARLIER}*"):
            shutil.rmtree(left, ignore_errors=True)
    if finished_figures(run) is None:
        return None
    if held := _folder_of(run):
        return Kept(held, made=False)
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
    return Kept(folder, made=True)


def after(run: Path, kept: Kept) -> str:
    """Say where the results that were kept are the faster ones; remove what the start kept and has made again.

    A folder is removed only if this start made it, and each of its files is byte for byte the one of the run.

    Args:
        run: the folder of a run that has ended.
        kept: what `keep` returned before.
    """
    folder = kept.folder
    if kept.made and _same(run, folder, KEPT) and _holds_nothing_else(folder):
        shutil.rmtree(folder, ignore_errors=True)
        return ""
    before, now = finished_figures(folder), finished_figures(run)
    if before is None or now is None or before.best_ms >= now.best_ms or not _comparable(run, folder):
        return ""
    times = [time_text(one.best_ms, one.estimated) for one in (before, now)]
    return f"the earlier result was faster, {times[0]} where this one takes {times[1]}: {folder / BEST}"


def _changes(run: Path, config: Config, problem: Problem) -> Iterator[str]:
    """Yield the settings, and what else, in which a start differs from the search that ended in a run's folder."""
    with suppress(OSError, CorruptArtifact):
        held = read_value((_folder_of(run) or run) / PROBLEM, Problem)
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


def _folder_of(run: Path) -> Path | None:
    """Return the folder of earlier results that holds those in the run's folder; None where none does.

    A start that was interrupted may have replaced the run's problem and none of the results: then the folder has the
    problem that was solved.
    """
    same = [folder for folder in reversed(_folders(run)) if _same(run, folder, RESULTS)]
    whole = [folder for folder in same if _same(run, folder, (PROBLEM,))]
    return next(iter(whole or (same if _problem_is_newer(run) else [])), None)


def _problem_is_newer(run: Path) -> bool:
    """Return whether a run's problem is missing, or was written after its results."""
    try:
        return (run / PROBLEM).stat().st_mtime_ns > (run / MANIFEST).stat().st_mtime_ns
    except FileNotFoundError:
        return not (run / PROBLEM).exists()


def _same(one: Path, other: Path, names: tuple[str, ...]) -> bool:
    """Return whether files have the same bytes in two folders; one that is missing is missing in both."""
    try:
        return all(_content(one / name) == _content(other / name) for name in names)
    except OSError:
        return False


def _content(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None


def _holds_nothing_else(folder: Path) -> bool:
    """Return whether a folder of earlier results has no file that somebody put there."""
    return {path.name for path in folder.iterdir()} <= set(KEPT)


def _folders(run: Path) -> list[Path]:
    """Return the folders of earlier results, in order of their numbers."""
    found = [path for path in run.glob(f"{EARLIER}*") if path.name.removeprefix(EARLIER).isdecimal()]
    return sorted(found, key=lambda path: int(path.name.removeprefix(EARLIER)))


def _next(run: Path) -> Path:
    last = _folders(run)[-1:]
    return run / f"{EARLIER}{1 + max((int(path.name.removeprefix(EARLIER)) for path in last), default=0)}"
