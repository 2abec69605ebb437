"""Connect to the parent that fits this process, and start it where none listens."""

from __future__ import annotations

import fcntl
import os
import socket
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress

from kopt.warm import place, wire
from kopt.warm.place import Odd

WAIT_S = 90.0
"""Longest wait for a fork, while a new parent imports, and then for the job to begin, s."""
START_S = 10.0
"""Longest wait for another job that is about to start the parent, s."""
PAD = 16 << 10
"""Bytes of a parent's command line, in which a fork shows its own."""
AS_PARENT = "--warm-parent"
"""First word of the command line of a parent."""
AHEAD = "--warm-ahead"
"""First word of the command line of a process that starts a parent and has no job."""
BACKLOG = 128


def connect_or_start(folder: str, name: str, tier: str) -> socket.socket:
    """Connect to the parent, which is started where none listens.

    Raises:
        Odd, OSError: there is none, and none can be started.
    """
    with suppress(FileNotFoundError, ConnectionRefusedError):
        return connect(folder, name, tier)
    with _locked(place.lock_path(folder, name)):
        with suppress(FileNotFoundError, ConnectionRefusedError):
            return connect(folder, name, tier)
        with suppress(FileNotFoundError, ConnectionRefusedError), connect(folder, name, "light"):
            raise Odd("the parent has no such tier")
        _start(folder, name)
        return connect(folder, name, tier)


def connect(folder: str, name: str, tier: str) -> socket.socket:
    """Connect to the parent.

    Raises:
        FileNotFoundError, ConnectionRefusedError: there is none.
        Odd, OSError: it is another user's, or has no room for another connection.
    """
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        connection.settimeout(WAIT_S)
        connection.connect(place.socket_path(folder, name, tier))
        if wire.peer(connection)[1] != os.getuid():
            raise Odd("another user listens")
    except BaseException:
        connection.close()
        raise
    return connection


@contextmanager
def _locked(path: str) -> Iterator[None]:
    """Hold the lock's file, which a parent removes when it ends.

    Raises:
        Odd: another job holds it for too long, stopped perhaps.
    """
    until = time.monotonic() + START_S
    while time.monotonic() < until:
        lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        try:
            if _has_locked(lock, path):
                yield
                return
        finally:
            os.close(lock)
        time.sleep(0.01)
    raise Odd("another job does not get done with starting the parent")


def _has_locked(lock: int, path: str) -> bool:
    with suppress(FileNotFoundError, BlockingIOError):
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return os.path.samestat(os.stat(path), os.fstat(lock))
    return False


def _start(folder: str, name: str) -> None:
    """Start a parent, of which this process is no ancestor; it listens already: the sockets are made here."""
    listeners = []
    try:
        for tier in place.TIERS:
            path = place.socket_path(folder, name, tier)
            with suppress(FileNotFoundError):
                os.unlink(path)
            listeners.append(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM))
            listeners[-1].bind(path)
            listeners[-1].listen(BACKLOG)
        between = os.fork()
        if between == 0:
            try:
                _become_parent(folder, name, [listener.fileno() for listener in listeners])
            finally:
                os._exit(0)
        os.waitpid(between, 0)
    finally:
        for listener in listeners:
            listener.close()


def _become_parent(folder: str, name: str, numbers: Sequence[int]) -> None:
    from subprocess import DEVNULL, Popen, _args_from_interpreter_flags  # type: ignore[attr-defined]  # 20 ms

    flags = [flag for flag in _args_from_interpreter_flags() if flag != "-P"]
    command = [sys.executable, *flags, "-P", f"{place.ROOT}/workflow/start.py", AS_PARENT, folder, name]
    log = os.open(place.log_path(folder, name), os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
    Popen(
        [*command, *map(str, numbers), " " * PAD], env=place.parents_variables(), cwd="/", stdin=DEVNULL, stdout=log,
        stderr=log, pass_fds=numbers, start_new_session=True,
    )  # fmt: skip


def start_ahead(tier: str) -> None:
    """Start the parent of jobs like this one, so that it imports while nobody waits for it."""
    with suppress(Odd, OSError, ValueError):
        connect_or_start(place.private_folder(), place.name_of_parent(), tier).close()


def let_start_ahead() -> None:
    """Let a process like a job's start the parent, and do not wait for it; `KOPT_WARM` is the tier, empty for none."""
    from subprocess import DEVNULL, Popen
    from tempfile import gettempdir

    if os.environ.get("KOPT_WARM"):
        path = os.pathsep.join(filter(None, [place.ROOT, os.environ.get("PYTHONPATH")]))
        command = [sys.executable, "-P", f"{place.ROOT}/workflow/start.py", AHEAD]
        environ = (
            os.environ | dict.fromkeys(("TMPDIR", "TMP"), gettempdir()) | {"PYTHONPATH": path}
        )  # as Snakemake does
        with suppress(OSError):
            Popen(command, env=environ, stdin=DEVNULL, stdout=DEVNULL, stderr=DEVNULL, start_new_session=True)
