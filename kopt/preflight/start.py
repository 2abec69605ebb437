"""Check, before the first job, what the command line and the clock did to a run: locks, dates, forgotten words."""

from __future__ import annotations

import os
import time
from collections.abc import Collection, Sequence
from contextlib import suppress
from pathlib import Path

from kopt.config import Config
from kopt.errors import ConfigError
from kopt.preflight.validate import lock_note

CONFIG_WORDS = ("--config", "-C")
LOOKS = ("--dry-run", "--dryrun", "-n")
"""Words of Snakemake's command line with which nothing is run or changed."""
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
    if not looks and not _asks(words, ("--nolock",)) and (note := lock_note(run)):
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
