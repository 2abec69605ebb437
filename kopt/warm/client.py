"""Hand a job over to a fork of a warm parent, in the job's own process, and end as the job ends.

The request leaves only when a fork has said that it waits for it.  Until then whatever is odd means that the job runs
in its own process; afterwards the job never runs twice.
"""

from __future__ import annotations

import fcntl
import os
import signal
import socket
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager, suppress

from kopt.warm import place, wire
from kopt.warm.place import Odd

WAIT_S = 90.0
"""Longest wait for a fork, while a new parent imports, s."""
PAD = 16 << 10
"""Bytes of a parent's command line, in which a fork shows its own."""
PARENT = "--warm-parent"
"""First word of the command line of a parent."""
AHEAD = "--warm-ahead"
"""First word of the command line of a process that starts a parent and has no job."""
BACKLOG = 128
ENDS = 20
"""How often a parent is looked at that has jobs at the end of a run, every 50 ms."""
_PASSED_ON = (
    signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2, signal.SIGTSTP,
    signal.SIGCONT,
)  # fmt: skip


def hand_over(words: Sequence[str], tier: str) -> int | None:
    """Have a fork of the parent run a job, and wait for its end.

    Args:
        words: the script and its words.
        tier: one of `kopt.warm.place.TIERS`.

    Returns:
        The job's exit status, or minus its signal; None where the job has not begun and must run here.
    """
    descriptors: list[int] = []
    connection = None
    try:
        folder, name = place.private_folder(), place.name_of_parent()
        connection = _connect_or_start(folder, name, tier)
        descriptors += (os.dup(number) for number in range(3))
        descriptors.append(os.open(".", os.O_PATH | os.O_DIRECTORY))
        descriptors.append(os.open(place.lock_path(folder, name), os.O_RDWR | os.O_NOFOLLOW))
        connection.settimeout(WAIT_S)
        waits = connection.recv(1) == wire.READY
        connection.settimeout(None)
    except (Odd, OSError, ValueError):
        waits = False
    if waits and connection:
        return _followed(connection, words, descriptors)
    for descriptor in descriptors:  # the job runs here, and must not hand them on
        os.close(descriptor)
    if connection:
        connection.close()
    return None


def start_ahead(tier: str) -> None:
    """Start the parent of jobs like this one, so that it imports while nobody waits for it."""
    with suppress(Odd, OSError, ValueError):
        _connect_or_start(place.private_folder(), place.name_of_parent(), tier).close()


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


def end(status: int) -> None:
    """End this process as a job has ended: with its exit status, or by its signal."""
    if status >= 0:
        os._exit(status)
    with suppress(OSError, ValueError):
        signal.signal(-status, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {-status})
    os.kill(os.getpid(), -status)
    os._exit(128 - status)  # a signal that does not end a process


def _followed(connection: socket.socket, words: Sequence[str], descriptors: list[int]) -> int:
    """Send the request, pass signals on to the job, and wait for its end."""
    request = wire.Request(
        words=list(words), command=list(sys.orig_argv), environ=dict(os.environ), umask=_umask(),
        ignored=[int(number) for number in signal.valid_signals() if signal.getsignal(number) is signal.SIG_IGN],
        blocked=sorted(map(int, signal.pthread_sigmask(signal.SIG_BLOCK, set()))),
    )  # fmt: skip

    def pass_on(number: int, frame: object) -> None:
        with suppress(OSError):
            connection.send(bytes([number]))
        if number == signal.SIGTSTP:
            os.kill(os.getpid(), signal.SIGSTOP)

    held = {number for number in _PASSED_ON if signal.getsignal(number) is not signal.SIG_IGN}
    signal.pthread_sigmask(signal.SIG_BLOCK, held)
    for number in held:
        signal.signal(number, pass_on)
    try:
        wire.send_request(connection, request, descriptors)
        for descriptor in descriptors:
            os.close(descriptor)
        signal.pthread_sigmask(signal.SIG_SETMASK, request.blocked)
        return wire.receive_status(connection)
    except (EOFError, OSError):  # the keeper has gone, and the job died with it
        with suppress(OSError):
            os.write(2, b"kopt: the keeper of this job has gone, and the job with it: run the same command again\n")
        return -signal.SIGKILL


def _connect_or_start(folder: str, name: str, tier: str) -> socket.socket:
    """Connect to the parent, which is started where none listens."""
    with suppress(FileNotFoundError, ConnectionRefusedError):
        return _connect(folder, name, tier)
    with _locked(place.lock_path(folder, name)):
        with suppress(FileNotFoundError, ConnectionRefusedError):
            return _connect(folder, name, tier)
        with suppress(FileNotFoundError, ConnectionRefusedError), _connect(folder, name, "light"):
            raise Odd("the parent has no such tier")
        _start(folder, name)
        return _connect(folder, name, tier)


def _connect(folder: str, name: str, tier: str) -> socket.socket:
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
    """Hold the lock's file, which a parent removes when it ends."""
    while True:
        lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            with suppress(FileNotFoundError):
                if os.path.samestat(os.stat(path), os.fstat(lock)):
                    yield
                    return
        finally:
            os.close(lock)


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
    command = [sys.executable, *flags, "-P", f"{place.ROOT}/workflow/start.py", PARENT, folder, name]
    log = os.open(place.log_path(folder, name), os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
    Popen(
        [*command, *map(str, numbers), " " * PAD], env=place.parents_variables(), cwd="/", stdin=DEVNULL, stdout=log,
        stderr=log, pass_fds=numbers, start_new_session=True,
    )  # fmt: skip


def _umask() -> int:
    mask = os.umask(0o077)
    os.umask(mask)
    return mask


def end_idle_parents() -> None:
    """End the parents of this checkout and Slurm job that have no job, at the end of a run or of a submitted job.

    Files of parents that were killed are removed.  None of it is needed for correctness.
    """
    with suppress(OSError, Odd):
        folder = place.private_folder()
        for note in os.listdir(folder):
            name, dot, kind = note.partition(".")
            if dot and kind == "note":
                with suppress(OSError, ValueError):
                    _end_idle(folder, name)


def _end_idle(folder: str, name: str) -> None:
    from kopt.sandbox.processes import descendants

    with open(place.note_path(folder, name), encoding="utf-8", errors="surrogateescape") as file:
        first, root, job = file.read().split("\n")
    pid = int(first)
    if not _living(pid):
        _forget_killed(folder, name)
    if (root, job) != (place.ROOT, os.environ.get("SLURM_JOB_ID", "")):
        return
    for _ in range(ENDS):
        working = any(_is_keeper(child) for child in descendants([pid])[pid])
        if not working:
            break
        time.sleep(0.05)  # a keeper ends a moment after its job
    with closing(_connect(folder, name, "light")) as connection:
        if not working and wire.peer(connection)[0] == pid:
            os.kill(pid, signal.SIGTERM)


def _forget_killed(folder: str, name: str) -> None:
    """Remove the files of a parent that was killed, as Slurm kills what a job leaves; nobody listens there."""
    try:
        _connect(folder, name, "light").close()
    except (ConnectionRefusedError, FileNotFoundError):
        place.remove_files(folder, name)


def _is_keeper(pid: int) -> bool:
    return _living(pid) == place.KEEPER


def _living(pid: int) -> str:
    """Return the name of a process; empty for one that has ended, which may still be listed."""
    try:
        with open(f"/proc/{pid}/stat") as file:
            comm, _, rest = file.read().partition("(")[2].rpartition(") ")
    except OSError:
        return ""
    return "" if rest.startswith("Z") else comm
