"""Check, before the first job, what the command line and the clock did to a run: locks, dates, forgotten words."""

from __future__ import annotations

import os
import time
from collections.abc import Collection, Sequence
from contextlib import suppress
from pathlib import Path

from kopt.artifact import read_value
from kopt.config import Config
from kopt.device.hardware.gpus import visible_gpus
from kopt.errors import ConfigError, CorruptArtifact
from kopt.model.problem import Problem
from kopt.preflight.validate import Checked, lock_note
from kopt.problem import folder
from kopt.run.earlier import finished_figures, replacing
from kopt.run.started import refuse_held, started

CONFIG_WORDS = ("--config", "-C")
LOOKS = ("--dry-run", "--dryrun", "-n")
"""Words of Snakemake's command line with which nothing is run or changed."""
TYPED = "KOPT_UNLOCKING"
"""Environment variable with the command that unlocks the run, for a message, where `kopt run` started snakemake."""
PROBLEM = "problem.json"
"""File of a run that holds its problem."""
DEVICE = "device.json"
"""File of a run that holds the description of its GPU."""
AHEAD_S = 5.0
"""How far ahead of this machine's clock a file may be dated, as by the clock of a file server, s."""


def begin(run: str, words: Sequence[str]) -> str:
    """Check a run's folder before its first job; return a note for the user, empty when there is nothing to say.

    Files of the run that are dated in the future, as after a clock was set back, are dated now: Snakemake refuses what
    is made from such a file, and compares by content whether anything has to run again.

    Args:
        run: the run's folder, as rules name it.
        words: Snakemake's command line.

    Raises:
        ConfigError: the folder is locked.
    """
    if _asks(words, ("--unlock",)):
        return ""
    looks = _asks(words, LOOKS)
    if not looks and not _asks(words, ("--nolock",)) and (note := lock_note(run, os.environ.get(TYPED, ""))):
        raise ConfigError(note)
    ahead = dated_ahead(Path(run), time.time() + AHEAD_S)
    if not ahead:
        return ""
    files = f"{ahead[0]} and {len(ahead) - 1} more are" if ahead[1:] else f"{ahead[0]} is"
    if looks:
        return f"{files} dated in the future: a run dates them now"
    for path in ahead:
        with suppress(OSError):
            os.utime(path)
    return f"{files} dated in the future, since a clock was set back: dated now, nothing runs again for that"


def check_free(run: str, words: Sequence[str]) -> None:
    """Refuse a run that another process works on, also to unlock it, from whatever working directory; a look is free.

    Raises:
        ConfigError: names the process.
    """
    if not _asks(words, LOOKS):
        refuse_held(Path(run))


def check_gpu(checked: Checked, words: Sequence[str]) -> None:
    """Refuse to begin a run on GPUs on this machine, whose jobs run here, where it shows none.

    A run that has a GPU's description may go on here: its next step may be to write replies, not to measure.

    Args:
        checked: the run's settings.
        words: Snakemake's command line.

    Raises:
        ConfigError: says what to do.
    """
    run = Path(checked.settings.folder)
    needs = checked.config.judge == "cuda" and checked.settings.backend == "cuda"
    if (
        needs
        and not _asks(words, ("--unlock", *LOOKS))
        and not (run / DEVICE).exists()
        and not visible_gpus(os.environ)
    ):
        raise ConfigError(
            "judge=cuda, but this machine shows no GPU: look at nvidia-smi and at CUDA_VISIBLE_DEVICES, submit the "
            "jobs to machines with GPUs (docs/clusters.md), or leave the judge out, for estimated times"
        )


def refuse_foreign_run(checked: Checked) -> None:
    """Refuse a run's folder that holds a run of another problem, which the new run would replace.

    A problem may be edited where it is, and moved or copied together with its runs.

    Raises:
        ConfigError: names the folder and its problem.
    """
    run = Path(checked.settings.folder)
    if other := _other_problem(run, checked):
        raise ConfigError(
            f"{run} is a run of problem {other}: name this run otherwise (run=NAME, kopt run --name NAME), or remove "
            "the folder"
        )


def replaced_note(checked: Checked, words: Sequence[str]) -> str:
    """Write the note for the user where a start replaces the results of a search that ended; empty elsewhere.

    Args:
        checked: the run's settings.
        words: Snakemake's command line.
    """
    run = Path(checked.settings.folder)
    if _asks(words, ("--unlock",)) or finished_figures(run) is None:
        return ""
    return replacing(run, checked.config, folder.load(checked.problem_folder))


def _other_problem(run: Path, checked: Checked) -> str:
    """Return the problem of the run that a folder holds; empty where it is the checked one, or there is no run."""
    record, held = started(run), _held_problem(run)
    if held is None:
        begun = record is not None and (run / "round_0").exists()
        return record.config.problem if record and begun and record.config.problem != checked.config.problem else ""
    wanted = folder.load(checked.problem_folder)
    if held.name != wanted.name:
        return held.name
    if record is None or run.resolve() != Path(record.folder, run).resolve():
        return ""
    before = Path(record.folder, record.config.problems, record.config.problem)
    if not before.exists() or before.resolve() == checked.problem_folder.resolve():
        return ""
    return "" if _unseeded(held) == _unseeded(wanted) else f"{held.name} in {before.parent}"


def _held_problem(run: Path) -> Problem | None:
    try:
        return read_value(run / PROBLEM, Problem)
    except (OSError, CorruptArtifact):
        return None


def _unseeded(problem: Problem) -> dict[str, object]:
    return problem.model_dump(exclude={"seed"})


def dated_ahead(folder: Path, moment: float) -> list[Path]:
    """List the files and folders below a folder that are dated after a moment (seconds since 1970)."""
    found = []
    pending = [folder]
    while pending:
        with suppress(OSError), os.scandir(pending.pop()) as entries:
            for entry in entries:
                with suppress(OSError):
                    if entry.stat(follow_symlinks=False).st_mtime > moment:
                        found.append(Path(entry.path))
                    if entry.is_dir(follow_symlinks=False):
                        pending.append(Path(entry.path))
    return sorted(found)


def check_words(words: Sequence[str]) -> None:
    """Refuse a command line that sets something without `--config`: Snakemake would look for a file of that name.

    Raises:
        ConfigError: names the word.
    """
    if _asks(words, CONFIG_WORDS):
        return
    for word in words[1:]:
        name, sign, _ = word.partition("=")
        if sign and name in Config.model_fields:
            raise ConfigError(f"{word} stands without --config: write --config {word}")


def _asks(words: Sequence[str], options: Collection[str]) -> bool:
    return any(word.partition("=")[0] in options for word in words)
