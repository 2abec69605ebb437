"""Record how a run was started, in a file of its folder, and tell whether the process that started it still works.

The process holds a lock on a file of the run as long as it lives, also when it is killed or works on another machine of
a shared file system.
"""

from __future__ import annotations

import os
import shlex
import socket
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from pydantic import JsonValue

from kopt import locks
from kopt.artifact import read_value, write_value
from kopt.config import Config
from kopt.errors import ConfigError, CorruptArtifact
from kopt.model.base import Value
from kopt.neutral import one_line
from kopt.run.manifest import config_of, configuration_of

STARTED = "started.json"
WORKING = "working.lock"
"""File that the process that started a run locks."""


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

    Raises:
        ConfigError: another process works on the run.
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
            locked=hold(run),
        )
        write_value(run / STARTED, record)


def hold(run: Path) -> bool:
    """Hold a run's lock until this process ends; return whether others can see that it is held.

    Snakemake's own locks lie in its working directory, and two of them may share a run's folder.

    Raises:
        ConfigError: another process works on the run.
    """
    here = f"process {os.getpid()} on {socket.gethostname()}, started in {os.getcwd()}"
    try:
        run.mkdir(parents=True, exist_ok=True)
        return locks.hold(run / WORKING, here)
    except locks.Held as error:
        raise ConfigError(_taken(run, str(error))) from error
    except OSError:
        return False


def refuse_held(run: Path) -> None:
    """Refuse a run that another process works on, as far as its lock is seen.

    Raises:
        ConfigError: another process works on the run.
    """
    with suppress(OSError):
        if (holder := locks.holder(run / WORKING)) is not None:
            raise ConfigError(_taken(run, holder))


def _taken(run: Path, holder: str) -> str:
    who = f" ({one_line(holder)})" if holder.strip() else ""
    return (
        f"another search works on {run}{who}: wait until it has ended, or name this run otherwise (run=NAME, kopt run "
        "--name NAME)"
    )


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
    try:
        return locks.holds(run / WORKING) or locks.holder(run / WORKING) is not None
    except FileNotFoundError:  # as in a copy of the run
        return False
    except OSError:
        return None
