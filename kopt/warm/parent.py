"""Import once what jobs need, listen, and fork: the parent reads no request, so that it never holds one.

    the light parent ── keeper ── job          one keeper and one job for each request
        the heavy parent ── keeper ── job      begun by the first request that needs torch

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
from dataclasses import dataclass

from kopt.sandbox.cage import die_with_parent, erase_initial_memory
from kopt.sandbox.environment import cuda_is_initialised
from kopt.warm import place
from kopt.warm.keeper import keep
from kopt.warm.stale import Files
from kopt.warm.takeover import call_self
from kopt.warm.wire import peer

IDLE_S = 180.0
"""Time without a request and without a job after which a parent ends, s."""
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
    words: Iterable[str], *, packages: Sequence[str], left_out: Sequence[str], load_torch: Callable[[], None]
) -> list[str]:
    """Serve requests; return, in the fork that is to run a job, the job's words, and never in the parent.

    Args:
        words: folder and name of the parent, and its listening sockets, by tier.
        packages: packages all of whose modules the light parent imports.
        left_out: parts of the names of modules of `packages` that no parent imports.
        load_torch: loads what the heavy parent has beside, without CUDA.
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
    return _Light(state, load_torch, *listeners).serve()


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
                return keep(connection, self._state, parent)
            signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})
        return None

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
        self, state: State, load_torch: Callable[[], None], listener: socket.socket, torch: socket.socket
    ) -> None:
        super().__init__(state)
        self._load_torch, self._listener = load_torch, listener
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
            return _Heavy(self._state, self._load_torch, self._torch).serve()
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
    def __init__(self, state: State, load_torch: Callable[[], None], listener: socket.socket) -> None:
        super().__init__(state)
        self._load_torch, self._listener = load_torch, listener

    def serve(self) -> list[str]:
        begun, before = time.time_ns(), dict(os.environ)
        self._load_torch()
        if cuda_is_initialised():
            raise RuntimeError("an import has used CUDA, which no fork could use then")
        _settle()
        added = {name: value for name, value in os.environ.items() if before.get(name) != value}
        state = self._state
        self._state = State(
            state.folder, state.name, state.light, state.lock, Files.imported(begun, state.files),
            {**state.added, **added},
            state.restrictions, state.comm,
        )  # fmt: skip
        while True:
            ready, _, _ = select.select([self._listener], [], [], IDLE_S)
            if not (_reap(0) or ready):
                os._exit(0)
            if (words := self._answer(self._listener)) is not None:
                return words


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
