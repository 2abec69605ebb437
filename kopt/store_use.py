"""Know who uses a store, so that nothing is removed or moved under a running search.

    store/in_use          each job holds a shared lock on this file, and maintenance an exclusive one
    store/users/*.json    names the folder of each run that has used the store

Locks are POSIX record locks: they end with the process that holds them, children do not inherit them, and they hold
between hosts that share a file system.
"""

from __future__ import annotations

import fcntl
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from kopt import artifact
from kopt.errors import CorruptArtifact, StoreError
from kopt.model.base import Value

log = logging.getLogger(__name__)

LOCK = "in_use"
"""File in a store that is locked by who uses the store."""
USERS = "users"
"""Folder in a store that names the runs which have used it."""


class RunFolder(Value):
    """The folder of a run that has used a store."""

    path: str
    """Absolute path."""
    relative: str
    """The same from the store's folder, which holds after both were moved together."""

    def found(self, root: Path) -> Path | None:
        """Return where the folder lies now; None where it is gone.

        Args:
            root: the store's folder.
        """
        places = (root.resolve() / self.relative, Path(self.path))
        return next((place.resolve() for place in places if place.is_dir()), None)


@contextmanager
def in_use(root: Path, run: Path | None = None) -> Iterator[None]:
    """Use a store, in the name of a run: maintenance of the store waits until the block has ended, or the process.

    A store that cannot be written is used without a lock: nobody can remove anything there either.

    Args:
        root: the store's folder; is made where it is missing.
        run: the run's folder; None outside of a run.
    """
    try:
        if run is not None:
            _register(root, run)
        handle = _opened(root)
    except OSError:
        yield
        return
    try:
        if not _locked(handle, fcntl.LOCK_SH):
            log.warning("waiting until `kopt store` has finished its work on %s", root)
            fcntl.lockf(handle, fcntl.LOCK_SH)
        yield
    finally:
        os.close(handle)


@contextmanager
def alone(root: Path) -> Iterator[None]:
    """Be the only user of a store: jobs that start meanwhile wait.

    Raises:
        StoreError: a job of a search uses the store now, or the store cannot be written.
    """
    try:
        handle = _opened(root)
    except OSError as error:
        raise StoreError(f"cannot write to the store {root}: {error.strerror}") from error
    try:
        if not _locked(handle, fcntl.LOCK_EX):
            raise StoreError(f"a search uses the store {root} now: try again when it has ended; nothing was changed")
        yield
    finally:
        os.close(handle)


def users(root: Path) -> list[RunFolder]:
    """List the runs that have used a store, those whose folders are gone included."""
    found = []
    for path in sorted((root / USERS).glob("*.json")):
        try:
            found.append(artifact.read_value(path, RunFolder))
        except (OSError, CorruptArtifact) as error:
            raise StoreError(f"cannot read {path}, which names a run: {error}") from error
    return found


def _opened(root: Path) -> int:
    root.mkdir(parents=True, exist_ok=True)
    return os.open(root / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)


def _locked(handle: int, kind: int) -> bool:
    """Lock if that is possible at once; a file system without locks counts as locked."""
    try:
        fcntl.lockf(handle, kind | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):
        return False
    except OSError:
        log.warning("the store's file system knows no locks: prune or move the store only when no search runs")
    return True


def _register(root: Path, run: Path) -> None:
    """Leave the name of a run's folder in the store, once."""
    store, folder = os.path.realpath(root), os.path.realpath(run)
    relative = os.path.relpath(folder, store)
    path = root / USERS / f"{artifact.digest([folder, relative])[:32]}.json"
    if not path.exists():
        artifact.write_value(path, RunFolder(path=folder, relative=relative))
