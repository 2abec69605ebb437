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
from kopt.jobs.asker import LEDGER
from kopt.model.problem import Problem
from kopt.report.numbers import time_text
from kopt.report.record import FinalFigures
from kopt.run.layout import EARLIER, MANIFEST, is_earlier
from kopt.run.manifest import DERIVED, UNRECORDED, Manifest, configuration_of
from kopt.run.started import WORKING

BEST, FINAL, PROBLEM = "best_kernel.py", "final.json", "problem.json"
RESULTS = (BEST, FINAL, "trials.parquet", MANIFEST)
"""Files by which the results of one search are known; its report says besides when its jobs worked."""
KEPT = (*RESULTS, "report.html", PROBLEM)
"""Files of a finished search that are kept."""
READ = ("facts.json", "device.json", "models.json", "baseline.json", "outcome.json", LEDGER)
"""Further files of a finished search from which it is read (`kopt.run.load`), beside the folders of its rounds."""
LOGS = "logs"
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


def keep(run: Path, rounds: int | None = None) -> Kept | None:
    """Copy a finished search aside, whole or not at all, where no earlier start has done so.

    Of the rounds that the start does not have nothing stays in the run's folder.  Copies that a killed start left
    unfinished are removed where this process holds the run.

    Args:
        run: the run's folder.
        rounds: rounds that the start asks for, round 0 not counted; None: as many as there are.

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
    held = _folder_of(run)
    kept = Kept(held, made=False) if held else Kept(_copied(run), made=True)
    if rounds is not None:
        _leave_to(kept.folder, run, rounds)
    return kept


def _copied(run: Path) -> Path:
    """Copy a finished search into a new folder."""
    folder = _next(run)
    try:
        with tempfile.TemporaryDirectory(prefix=f".{EARLIER}", dir=run) as scratch:
            whole = Path(scratch) / "whole"
            whole.mkdir()
            for name in (*KEPT, *READ):
                with suppress(FileNotFoundError):
                    shutil.copy2(run / name, whole / name)
            for number in _rounds(run):
                shutil.copytree(run / f"round_{number}", whole / f"round_{number}")
            whole.rename(folder)
    except OSError as error:
        raise _no_room(run, folder, error) from error
    return folder


def _leave_to(folder: Path, run: Path, rounds: int) -> None:
    """Leave rounds that a start does not have, and their logs, to the folder of earlier results.

    A round that differs from the one that the folder has is of a search that did not end, and stays.
    """
    try:
        for number in (number for number in _rounds(run) if number > rounds):
            name = f"round_{number}"
            if _same_files(run / name, folder / name):
                shutil.rmtree((run / name).rename(run / f".{EARLIER}{name}"))
            elif not (folder / name).exists():
                (run / name).rename(folder / name)
            if (run / LOGS / name).is_dir() and not (run / name).exists() and not (folder / LOGS / name).exists():
                (folder / LOGS).mkdir(exist_ok=True)
                (run / LOGS / name).rename(folder / LOGS / name)
    except OSError as error:
        raise _no_room(run, folder, error) from error


def _no_room(run: Path, folder: Path, error: OSError) -> ConfigError:
    return ConfigError(
        f"the results of {run} cannot be kept in {folder} before they are replaced ({error.strerror or error}): "
        "make room, or name this run otherwise (run=NAME, kopt run --name NAME)"
    )


def _rounds(folder: Path) -> list[int]:
    """Return the numbers of the rounds of which a folder has files, in order."""
    names = (path.name.removeprefix("round_") for path in folder.glob("round_*") if path.is_dir())
    return sorted(int(name) for name in names if name.isdecimal())


def _same_files(one: Path, other: Path) -> bool:
    """Return whether two folders hold files of the same names and bytes."""
    files = [{path.relative_to(root) for path in root.rglob("*") if path.is_file()} for root in (one, other)]
    return files[0] == files[1] and all(_same(one, other, (str(name),)) for name in files[0])


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
    own = {*KEPT, *READ, LOGS, *(f"round_{number}" for number in _rounds(folder))}
    return {path.name for path in folder.iterdir()} <= own


def _folders(run: Path) -> list[Path]:
    """Return the folders of earlier results, in order of their numbers."""
    found = [path for path in run.glob(f"{EARLIER}*") if is_earlier(path)]
    return sorted(found, key=lambda path: int(path.name.removeprefix(EARLIER)))


def _next(run: Path) -> Path:
    last = _folders(run)[-1:]
    return run / f"{EARLIER}{1 + max((int(path.name.removeprefix(EARLIER)) for path in last), default=0)}"
