"""Record how a run was started, in a file of its folder, and tell whether the process that started it still works.

The process holds a lock on a file of the run as long as it lives, also when it is killed or works on another machine of
a shared file system.
"""

from __future__ import annotations

import fcntl
import os
import shlex
import socket
import struct
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from pydantic import JsonValue

from kopt.artifact import read_value, write_value
from kopt.config import Config
from kopt.errors import CorruptArtifact
from kopt.model.base import Value
from kopt.run.manifest import config_of, configuration_of

STARTED = "started.json"
WORKING = "working.lock"
"""File that the process that started a run locks."""

_FLOCK = "hhqqi4x"
"""Layout of `struct flock` on Linux: type, whence, start, length, process."""
_held: dict[Path, int] = {}
"""Handles of the locks that this process holds, by file; closing any handle of such a file would end its lock."""


class Started(Value):
    """A start of a run; a later start replaces it."""

    words: tuple[str, ...]
    """Command line, from `snakemake` on."""
    folder: str
    """Working directory, absolute."""
    host: str
    moment: float
    """Time of this start, seconds since 1970."""
    first: float
    """Time of the run's first start, seconds since 1970."""
    configuration: dict[str, JsonValue]
    """All settings, and derived values."""
    locked: bool
    """Whether the process could lock `WORKING`: some file systems know no locks."""

    @property
    def config(self) -> Config:
        """The settings alone."""
        return config_of(self.configuration)

    def again(self, here: Path) -> str:
        """Return the command that starts the run again, for a shell in the folder `here`."""
        command = shlex.join(self.words)
        return command if str(here) == self.folder else f"cd {shlex.quote(self.folder)} && {command}"


def record_start(run: Path, words: Sequence[str], config: Config) -> None:
    """Write the record of a start, and hold the run's lock until this process ends.

    A folder that cannot be written gets no record: the first job says in one line what is wrong with it.

    Args:
        run: the run's folder.
        words: Snakemake's command line; its first word is replaced by `snakemake`.
        config: the settings of the run.
    """
    before, moment = started(run), time.time()
    with suppress(OSError):
        run.mkdir(parents=True, exist_ok=True)
        record = Started(
            words=("snakemake", *words[1:]),
            folder=os.getcwd(),
            host=socket.gethostname(),
            moment=moment,
            first=before.first if before else moment,
            configuration=configuration_of(config),
            locked=_lock(run / WORKING),
        )
        write_value(run / STARTED, record)


def started(run: Path) -> Started | None:
    """Read the record of a run's last start; None where there is none, or none that this kopt can read."""
    try:
        return read_value(run / STARTED, Started)
    except (OSError, CorruptArtifact):
        return None


def is_working(run: Path) -> bool | None:
    """Return whether the process that started a run last still lives; None where that cannot be known."""
    record = started(run)
    if record is None or not record.locked:
        return None
    if (run / WORKING).resolve() in _held:
        return True
    try:
        handle = os.open(run / WORKING, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:  # as in a copy of the run
        return False
    except OSError:
        return None
    try:
        asked = struct.pack(_FLOCK, fcntl.F_RDLCK, os.SEEK_SET, 0, 0, 0)
        kind: int = struct.unpack(_FLOCK, fcntl.fcntl(handle, fcntl.F_GETLK, asked))[0]
        return kind != fcntl.F_UNLCK
    except OSError:
        return None
    finally:
        os.close(handle)


def _lock(path: Path) -> bool:
    if path.resolve() in _held:
        return True
    handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        fcntl.lockf(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(handle)
        return False
    _held[path.resolve()] = handle
    return True
