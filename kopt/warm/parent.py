"""Import once what jobs need, listen, and fork: the parent reads no request, so that it never holds one.

    the light parent ── keeper ── job              one keeper and one job for each request
        the heavy parent ── keeper ── job          begun by the first request that needs torch
            its successor ── keeper ── job         begun while nobody asks, to load more, and then serve in its place

A parent ends when nobody has asked for a while, and when a file that it has imported has changed.
"""

from __future__ import annotations

import gc
import importlib
import os
import pkgutil
import select
import signal
import socket
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace

from kopt.sandbox.cage import die_with_parent, erase_initial_memory
from kopt.sandbox.environment import cuda_is_initialised
from kopt.warm import place
from kopt.warm.keeper import keep
from kopt.warm.stale import Files
from kopt.warm.takeover import call_self
from kopt.warm.wire import peer

IDLE_S = 180.0
"""Time without a request and without a job after which a parent ends, s."""
QUIET_S = 0.05
"""Time without a request after which the heavy parent begins its successor, s."""
PAUSE_S = 0.1
"""Pause before another try where the system has no room for a connection, s."""


@dataclass(frozen=True)
class State:
    """What forks need to know of their parent."""

    folder: str
    name: str
    light: int
    """The light parent's pid."""
    lock: os.stat_result
    """The lock's file, which a client proves that it may write."""
    files: Files
    added: Mapping[str, str]
    """Variables that imports have set."""
    restrictions: list[str]
    comm: str
    """Name of a process of Python."""


def serve(
    words: Iterable[str], *, packages: Sequence[str], left_out: Sequence[str], load_torch: Callable[[], None],
    later: Sequence[Callable[[], None]] = (),
) -> list[str]:  # fmt: skip
    """Serve requests; return, in the fork that is to run a job, the job's words, and never in the parent.

    Args:
        words: folder and name of the parent, and its listening sockets, by tier.
        packages: packages all of whose modules the light parent imports.
        left_out: parts of the names of modules of `packages` that no parent imports.
        load_torch: loads what the heavy parent has beside, without CUDA.
        later: load what some jobs of the heavy parent import; each does so in a successor of the one before.
    """
    folder, name, *numbers = words
    listeners = [socket.socket(fileno=int(number)) for number in numbers[: len(place.TIERS)]]
    begun, before, comm = time.time_ns(), dict(os.environ), _read("/proc/self/comm").strip()
    held = os.open(place.lock_path(folder, name), os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    lock = os.fstat(held)  # never closed: no later file has this one's number
    signal.signal(signal.SIGTERM, lambda number, frame: _end(folder, name, lock))
    for number in (signal.SIGINT, signal.SIGHUP, signal.SIGQUIT):
        signal.signal(number, signal.SIG_IGN)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    os.umask(0o077)
    call_self(place.PARENT)
    for listener in listeners:
        listener.listen(128)  # `SO_PEERCRED` names this process from now on
        listener.setblocking(False)
    note = "\n".join([str(os.getpid()), place.ROOT, os.environ.get("SLURM_JOB_ID", "")])
    with open(place.note_path(folder, name), "w", encoding="utf-8", errors="surrogateescape") as file:
        file.write(note)
    os.environ.clear()
    os.environ.update(before)  # in memory of its own
    erase_initial_memory()
    _import_light(packages, left_out)
    added = {name: value for name, value in os.environ.items() if before.get(name) != value}
    state = State(folder, name, os.getpid(), lock, Files.imported(begun), added, place.restrictions("self"), comm)
    return _Light(state, (load_torch, *later), *listeners).serve()


def _import_light(packages: Sequence[str], left_out: Sequence[str]) -> None:
    from kopt.artifact import load_pyarrow

    load_pyarrow()
    for package in packages:
        for module in pkgutil.iter_modules(importlib.import_module(package).__path__, f"{package}."):
            if not any(part in module.name for part in left_out):
                importlib.import_module(module.name)
    _settle()


def _settle() -> None:
    """Prepare for forks: what lives stays where it is, and libraries end their threads.

    Raises:
        RuntimeError: there are threads, which a fork would lose.
    """
    gc.collect()
    gc.freeze()
    pid = os.fork()  # OpenBLAS ends its threads before a fork
    if pid == 0:
        os._exit(0)
    os.waitpid(pid, 0)
    if len(os.listdir("/proc/self/task")) > 1:
        raise RuntimeError("this process has threads")


class _Parent:
    """A process that listens and forks."""

    def __init__(self, state: State) -> None:
        self._state = state

    def _answer(self, listener: socket.socket, others: Iterable[socket.socket] = ()) -> list[str] | None:
        """Accept one connection and fork its keeper; returns words in the fork that is the job.

        Where none can be forked the connection ends, and the client runs the job.
        """
        connection = _accept(listener)
        if connection is None:
            return None
        with connection:
            if not self._may_ask(connection):
                return None
            parent = os.getpid()
            signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
            if _fork() == 0:
                for number in (signal.SIGTERM, signal.SIGCHLD):
                    signal.signal(number, signal.SIG_DFL)
                signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})
                listener.close()
                for other in others:
                    other.close()
                self._leave()
                return keep(connection, self._state, parent)
            signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})
        return None

    def _leave(self) -> None:
        """Close, in a fork that serves nobody, what only this process needs."""

    def _may_ask(self, connection: socket.socket) -> bool:
        """Return whether a client is this user's and restricted as this process is; a caged process is more so.

        Nobody may ask a process that has threads.
        """
        with suppress(OSError):
            pid, user = peer(connection)
            alone = len(os.listdir("/proc/self/task")) == 1  # a fork would lose other threads
            return alone and user == os.getuid() and place.restrictions(pid) == self._state.restrictions
        return False


class _Light(_Parent):
    def __init__(
        self, state: State, loads: Sequence[Callable[[], None]], listener: socket.socket, torch: socket.socket
    ) -> None:
        super().__init__(state)
        self._loads, self._listener = loads, listener
        self._torch: socket.socket | None = torch
        self._heavy, self._heavy_pid = -1, 0

    def serve(self) -> list[str]:
        last = time.monotonic()
        while True:
            ready, _, _ = select.select([self._listener, *self._watched()], [], [], IDLE_S)
            if _reap(self._heavy_pid) or ready:
                last = time.monotonic()
            elif time.monotonic() - last >= IDLE_S:
                _end(self._state.folder, self._state.name, self._state.lock)
            words = None
            if self._heavy in ready:
                self._heavy_ended()
            elif self._torch in ready:
                words = self._begin_heavy()
            if words is None and self._listener in ready:
                words = self._answer(self._listener, [self._torch] if self._torch else [])
            if words is not None:
                return words

    def _leave(self) -> None:
        if self._heavy >= 0:
            os.close(self._heavy)

    def _watched(self) -> list[int | socket.socket]:
        """Return what tells of the heavy parent: its end, or a request for it."""
        if self._heavy >= 0:
            return [self._heavy]
        return [self._torch] if self._torch else []

    def _begin_heavy(self) -> list[str] | None:
        """Fork the heavy parent; returns words in the fork of that one that is a job.

        Where it cannot be forked the connection that asks for it ends, and the client runs the job.
        """
        assert self._torch is not None
        parent = os.getpid()
        pid = _fork()
        if pid == 0:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            die_with_parent(parent)
            self._listener.close()
            return _Heavy(self._state, self._loads, self._torch).serve()
        if pid is not None:
            try:
                self._heavy, self._heavy_pid = os.pidfd_open(pid), pid
                return None
            except OSError:
                os.kill(pid, signal.SIGKILL)
                os.waitpid(pid, 0)
        if connection := _accept(self._torch):
            connection.close()
        return None

    def _heavy_ended(self) -> None:
        """Listen for the heavy parent again, which has had no requests; one that has failed is not begun again."""
        _, status = os.waitpid(self._heavy_pid, 0)
        os.close(self._heavy)
        self._heavy, self._heavy_pid = -1, 0
        if status and self._torch:
            self._torch.close()
            self._torch = None
            with suppress(OSError):
                os.unlink(place.socket_path(self._state.folder, self._state.name, "torch"))


class _Heavy(_Parent):
    """Load torch and fork; while nobody asks, fork a successor that loads more, and let it serve once it has."""

    def __init__(self, state: State, loads: Sequence[Callable[[], None]], listener: socket.socket) -> None:
        super().__init__(state)
        self._next, *self._later = loads
        self._listener = listener
        self._successor, self._successor_pid, self._news = -1, 0, -1
        self._replaced = False

    def serve(self) -> list[str]:
        self._load()
        return self._listen()

    def _listen(self) -> list[str]:
        while True:
            begins = bool(self._later) and self._successor < 0
            watched: list[int | socket.socket] = [one for one in (self._successor, self._news) if one >= 0]
            watched += [] if self._replaced else [self._listener]
            ready, _, _ = select.select(watched, [], [], QUIET_S if begins else IDLE_S)
            words = None
            if self._news in ready:
                self._hear()
            elif self._successor in ready:
                self._successor_ended()
            elif self._listener in ready:
                words = self._answer(self._listener)
            elif begins:
                words = self._begin_successor()
            elif not _reap(self._successor_pid):
                os._exit(0)
            if words is not None:
                return words

    def _load(self) -> None:
        """Load what this process is to load.

        Raises:
            RuntimeError: this has used CUDA, or started a thread.
        """
        begun, before = time.time_ns(), dict(os.environ)
        self._next()
        if cuda_is_initialised():
            raise RuntimeError("an import has used CUDA, which no fork could use then")
        _settle()
        state = self._state
        added = {name: value for name, value in os.environ.items() if before.get(name) != value}
        files, added = Files.imported(begun, state.files), {**state.added, **added}
        self._state = replace(state, files=files, added=added)

    def _begin_successor(self) -> list[str] | None:
        """Fork the successor; returns words in the fork of that one that is a job.

        A successor that cannot be forked, or fails, costs nothing: this process goes on serving.
        """
        parent, (news, told) = os.getpid(), os.pipe()
        pid = _fork()
        if pid == 0:
            os.close(news)
            try:
                die_with_parent(parent)
                successor = type(self)(self._state, self._later, self._listener)
                successor._load()
                os.write(told, b"serves")
            except BaseException:  # noqa: BLE001 - whatever an import may raise
                os._exit(1)
            os.close(told)
            return successor._listen()
        os.close(told)
        self._later, self._news = [], news
        if pid is not None:
            try:
                self._successor, self._successor_pid = os.pidfd_open(pid), pid
                return None
            except OSError:
                os.kill(pid, signal.SIGKILL)
                os.waitpid(pid, 0)
        self._hear()
        return None

    def _hear(self) -> None:
        """Hear that the successor serves, or that it does not."""
        self._replaced = bool(os.read(self._news, 16))
        os.close(self._news)
        self._news = -1

    def _successor_ended(self) -> None:
        """Serve again, or end, where no job lives, after a successor that nobody has asked for a while."""
        _, status = os.waitpid(self._successor_pid, 0)
        os.close(self._successor)
        was, self._replaced = self._replaced, False
        self._successor, self._successor_pid = -1, 0
        if was and not status and not _reap(0):
            os._exit(0)

    def _leave(self) -> None:
        for number in (self._successor, self._news):
            if number >= 0:
                os.close(number)


def _accept(listener: socket.socket) -> socket.socket | None:
    """Accept a connection; None where the client has gone again, or the system has no room for one, after a pause."""
    try:
        return listener.accept()[0]
    except BlockingIOError:
        return None
    except OSError:
        time.sleep(PAUSE_S)
        return None


def _fork() -> int | None:
    """Fork this process; None where the system has no room for another."""
    try:
        return os.fork()
    except OSError:
        return None


def _reap(spared: int) -> bool:
    """Reap the keepers that have ended; return whether another process of this one's lives.

    Args:
        spared: pid of the heavy parent, which is reaped where its end is seen; 0: none.
    """
    try:
        while ended := os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT):
            if ended.si_pid == spared:
                break
            os.waitpid(ended.si_pid, 0)
    except ChildProcessError:
        return False
    return True


def _end(folder: str, name: str, lock: os.stat_result) -> None:
    """End this parent, and remove its files, unless a client is about to make new ones."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # a second one would end this half way
    place.remove_files(folder, name, lock)
    os._exit(0)


def _read(path: str) -> str:
    with open(path) as file:
        return file.read()
