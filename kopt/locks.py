"""Lock a file against other processes, also on other machines that share its folder.

`flock` is used where the file system has it: NFS passes it on to its server, Lustre and CephFS to their lock managers,
and the lock ends with its holder.  Where there is none, the lock is a file that its holder renews; a holder that was
killed on this machine loses it at once, and one on another machine after `LEASE_S`.

`hold` locks a file until the process ends, by a lock that no child of the process shares and that readers can look at.
"""

from __future__ import annotations

import errno
import fcntl
import os
import struct
import tempfile
from contextlib import suppress
from functools import cache
from pathlib import Path

from filelock import BaseFileLock, FileLock, SoftFileLease, Timeout

LEASE_S = 60.0
"""Time after which a lock that its holder does not renew is free, s."""
MISSING = frozenset({errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP})
"""Errors of a file system without locks."""
TAKEN = frozenset({errno.EACCES, errno.EAGAIN})
"""Errors of `lockf` where another process holds the lock."""
MOST_NOTE_BYTES = 4000
"""Most bytes of the note of a lock's holder."""
LEASE = ".lease"
"""Suffix of the file that stands for a lock where the file system has none."""

_FLOCK = "hhqqi4x"
"""Layout of `struct flock` on Linux: type, whence, start, length, process."""
_held: dict[Path, int | SoftFileLease] = {}
"""Locks that this process holds until it ends, by file; closing any handle of such a file would end its lock."""


class Held(Exception):
    """Another process holds a lock; the message is the note of its holder, which may be empty."""


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


def hold(path: Path, note: str) -> bool:
    """Hold the lock of a file until this process ends, also when it is killed; return whether readers see the lock.

    They do not where the file system has no locks: there a lease beside the file keeps other holders off.

    Args:
        path: the lock's file; its folder exists.
        note: who holds the lock, for whoever finds it held.

    Raises:
        Held: another process holds the lock.
        OSError: the file can be neither opened nor made.
    """
    place = path.resolve()
    if place in _held:
        return isinstance(_held[place], int)
    handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NONBLOCK, 0o644)
    lock: int | SoftFileLease = handle
    try:
        fcntl.lockf(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        before = _noted(handle)
        os.close(handle)
        if error.errno in TAKEN:
            raise Held(before) from error
        lock = _lease(path, before)
    _held[place] = lock
    _write_note(path if lock is not handle else handle, note)
    return lock is handle


def holder(path: Path) -> str | None:
    """Return the note of another process that holds the lock of a file; None where no other process is seen to.

    Raises:
        OSError: the file cannot be opened, or its file system has no locks.
    """
    if path.resolve() in _held:
        return None
    handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    try:
        asked = struct.pack(_FLOCK, fcntl.F_RDLCK, os.SEEK_SET, 0, 0, 0)
        kind: int = struct.unpack(_FLOCK, fcntl.fcntl(handle, fcntl.F_GETLK, asked))[0]
        return None if kind == fcntl.F_UNLCK else _noted(handle)
    finally:
        os.close(handle)


def holds(path: Path) -> bool:
    """Return whether this process holds the lock of a file."""
    return path.resolve() in _held


def _lease(path: Path, before: str) -> SoftFileLease:
    """Take the lease that stands for a lock.

    Raises:
        Held: another process holds it.
    """
    lease = SoftFileLease(path.with_name(path.name + LEASE), timeout=0, lease_duration=LEASE_S)
    try:
        lease.acquire()
    except Timeout as error:
        raise Held(before) from error
    return lease


def _noted(handle: int) -> str:
    try:
        return os.pread(handle, MOST_NOTE_BYTES, 0).decode(errors="replace")
    except OSError:  # a pipe
        return ""


def _write_note(file: int | Path, note: str) -> None:
    content = note.encode()[:MOST_NOTE_BYTES]
    with suppress(OSError):  # a full disk, a pipe
        if isinstance(file, Path):
            file.write_bytes(content)
        else:
            os.ftruncate(file, 0)
            os.pwrite(file, content, 0)
