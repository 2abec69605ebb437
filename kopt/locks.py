"""Lock a file against other processes, also on other machines that share its folder.

`flock` is used where the file system has it: NFS passes it on to its server, Lustre and CephFS to their lock managers,
and the lock ends with its holder.  Where there is none, the lock is a file that its holder renews; a holder that was
killed on this machine loses it at once, and one on another machine after `LEASE_S`.
"""

from __future__ import annotations

import errno
import fcntl
import tempfile
from functools import cache
from pathlib import Path

from filelock import BaseFileLock, FileLock, SoftFileLease

LEASE_S = 60.0
"""Time after which a lock that its holder does not renew is free, s."""
MISSING = frozenset({errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP})
"""Errors of a file system without `flock`."""


def lock_file(path: Path, seconds: float) -> BaseFileLock:
    """Return a lock, not yet held; its folder is made where it is missing.

    Args:
        path: the lock's file.
        seconds: longest wait for the lock, s; then `filelock.Timeout` is raised.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    if has_flock(path.parent):
        return FileLock(path, timeout=seconds, fallback_to_soft=False)
    return SoftFileLease(path, timeout=seconds, lease_duration=LEASE_S)


@cache
def has_flock(folder: Path) -> bool:
    """Return whether files of a folder can be locked by `flock`; a folder that cannot be written is said to have it."""
    try:
        with tempfile.TemporaryFile(dir=folder) as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        return error.errno not in MISSING
    return True
