"""Hand a job over to a fork of a warm parent, in the job's own process, and end as the job ends.

The request leaves only when a fork has said that it waits for it, and goes with the right to run the job.  Whatever is
odd before the fork has taken that right means that the job runs in its own process; afterwards it never does.
"""

from __future__ import annotations

import os
import signal
import socket
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from types import FrameType

from kopt.warm import place, wire
from kopt.warm.connect import WAIT_S, connect_or_start
from kopt.warm.ends import retire_silent
from kopt.warm.place import Odd

GONE = b"kopt: the keeper of this job has gone, and the job with it: run the same command again\n"
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
        The job's exit status, or minus its signal; None where the job has not begun and must run here, in a process
        that is as if it had asked nobody.
    """
    with ExitStack() as opened:
        try:
            job = _asked(words, tier, opened)
        except (Odd, OSError, ValueError):
            return None
        return job.followed() if job else None


def _asked(words: Sequence[str], tier: str, opened: ExitStack) -> _Job | None:
    """Ask the parent for a fork, and wait for it; None where the parent has none.

    Args:
        words: the script and its words.
        tier: one of `kopt.warm.place.TIERS`.
        opened: closes what is opened here.
    """

    def kept(descriptor: int) -> int:
        opened.callback(os.close, descriptor)
        return descriptor

    folder, name = place.private_folder(), place.name_of_parent()
    connection = opened.enter_context(connect_or_start(folder, name, tier))
    standard = [kept(os.dup(number)) for number in range(3)]
    here = kept(os.open(".", os.O_PATH | os.O_DIRECTORY))
    lock = kept(os.open(place.lock_path(folder, name), os.O_RDWR | os.O_NOFOLLOW))
    right = kept(wire.make_right())
    if not wire.comes(connection, WAIT_S):
        retire_silent(folder, name)
        return None
    if connection.recv(1) != wire.READY:
        return None
    request = wire.Request(
        words=list(words), command=list(sys.orig_argv), environ=dict(os.environ), umask=_umask(),
        ignored=[int(number) for number in signal.valid_signals() if signal.getsignal(number) is signal.SIG_IGN],
        blocked=sorted(map(int, signal.pthread_sigmask(signal.SIG_BLOCK, set()))),
    )  # fmt: skip
    return _Job(connection, request, [*standard, here, lock, right])


class _Job:
    """A job for which a fork waits."""

    def __init__(self, connection: socket.socket, request: wire.Request, descriptors: Sequence[int]) -> None:
        """Note what the fork needs; `wire.DESCRIPTORS` says what the descriptors are."""
        self._connection, self._request, self._descriptors = connection, request, list(descriptors)
        self._here = False
        self._handlers: dict[signal.Signals, Callable[[int, FrameType | None], object] | int | None] = {}
        """Earlier handlers of the signals that are passed on."""

    def followed(self) -> int | None:
        """Send the request, pass signals on to the job, and wait for its end; None where it must run here.

        Until the job has begun, a signal acts on this process as on any other.
        """
        handlers = {number: signal.getsignal(number) for number in _PASSED_ON}
        self._handlers = {number: old for number, old in handlers.items() if old not in (signal.SIG_IGN, None)}
        status = self._status()
        if self._runs_here():
            self._pass_no_more()
            return None
        if status is None:
            with suppress(OSError):
                os.write(2, GONE)
            return -signal.SIGKILL
        return status

    def _status(self) -> int | None:
        """Send the request and wait for the job's status; None where the keeper has gone, or the job does not begin."""
        try:
            with self._signals_held():
                for number in self._handlers:
                    signal.signal(number, self._pass_on)
                self._connection.settimeout(WAIT_S)
                wire.send_request(self._connection, self._request, self._descriptors)
                self._connection.settimeout(None)
            if not wire.comes(self._connection, WAIT_S) and self._runs_here():
                return None
            return wire.receive_status(self._connection)
        except (EOFError, OSError):
            return None

    def _runs_here(self) -> bool:
        """Return whether this process has the right to run the job, which it takes if the fork has not."""
        with self._signals_held():
            self._here = self._here or wire.take_right(self._descriptors[-1])
        return self._here

    def _pass_on(self, number: int, frame: object) -> None:
        if number not in (signal.SIGTSTP, signal.SIGCONT) and self._runs_here():
            self._pass_no_more()
            os.kill(os.getpid(), number)
            return
        with suppress(OSError):
            self._connection.send(bytes([number]))
        if number == signal.SIGTSTP:
            os.kill(os.getpid(), signal.SIGSTOP)

    def _pass_no_more(self) -> None:
        with self._signals_held():
            for number, handler in self._handlers.items():
                signal.signal(number, handler)

    @contextmanager
    def _signals_held(self) -> Iterator[None]:
        before = signal.pthread_sigmask(signal.SIG_BLOCK, self._handlers)
        try:
            yield
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)


def end(status: int) -> None:
    """End this process as a job has ended: with its exit status, or by its signal."""
    if status >= 0:
        os._exit(status)
    with suppress(OSError, ValueError):
        signal.signal(-status, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {-status})
    os.kill(os.getpid(), -status)
    os._exit(128 - status)  # a signal that does not end a process


def _umask() -> int:
    mask = os.umask(0o077)
    os.umask(mask)
    return mask
