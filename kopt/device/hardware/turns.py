"""Wait in turn: of the processes that wait for a GPU, the one that has waited longest gets it.

Each has a file in the GPU's folder, whose name tells since when it waits, or until when it lets others go first.  It
holds a lock of that file, which ends with it, and touches the file again and again: one that has been stopped, and so
could not take the GPU, is passed over.
"""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from kopt.errors import DeviceError

BEAT_S = 0.5
"""Time between two touches, s."""
STOPPED_S = 5.0
"""Time without a touch after which a process is passed over, s."""


@dataclass
class Turn:
    """The place of this process among those that wait for a GPU."""

    path: Path
    touched_at: float
    behind: Path | None = None
    """File of the process that was found to be the next one before this one."""

    def has_come(self) -> bool:
        """Return whether no process that can take the GPU has waited longer.

        The folder is read only when the process before this one has gone, so that many may wait.
        """
        if time.monotonic() - self.touched_at > BEAT_S:
            with suppress(OSError):
                os.utime(self.path)
            self.touched_at = time.monotonic()
        if self.behind is None or not _is_waiting(self.behind):
            earlier = (path for path in self.path.parent.glob("*.turn") if path.name < self.path.name)
            self.behind = next(filter(_is_waiting, sorted(earlier, reverse=True)), None)
        return self.behind is None


@contextmanager
def turn(folder: Path, patience_s: float = 0.0) -> Iterator[Turn]:
    """Wait in turn for the GPU whose locks lie in a folder, until the block ends.

    Args:
        folder: the folder.
        patience_s: time for which those who ask later go first, s.

    Raises:
        DeviceError: the folder cannot be written.
    """
    name = f"{time.time_ns() + int(1e9 * patience_s):020}-{os.getpid()}"
    path = folder / f"{name}.turn"
    hidden = folder / f".{name}"
    try:
        descriptor = os.open(hidden, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, 0o666)
    except OSError as error:
        raise DeviceError(f"cannot wait for a GPU in {folder}: {error.strerror}") from error
    try:
        with suppress(PermissionError):
            os.fchmod(descriptor, 0o666)
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        hidden.rename(path)  # nobody sees the file before it is locked
        yield Turn(path, time.monotonic())
    finally:
        for one in (hidden, path):
            one.unlink(missing_ok=True)
        os.close(descriptor)


def _is_waiting(path: Path) -> bool:
    """Return whether a file's process waits and can take a GPU; remove the file of one that has ended."""
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
    except OSError:  # removed meanwhile, or another user's who gives no access
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return time.time() - os.fstat(descriptor).st_mtime <= STOPPED_S
    else:
        with suppress(OSError):
            path.unlink()
        return False
    finally:
        os.close(descriptor)
