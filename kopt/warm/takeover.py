"""Turn a fork of a warm parent into a job: read the request and become what its client is."""

from __future__ import annotations

import ctypes
import fcntl
import importlib
import io
import multiprocessing
import multiprocessing.process
import os
import random
import re
import signal
import socket
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from typing import TYPE_CHECKING

from kopt.sandbox.cage import initial_memory
from kopt.warm import wire

if TYPE_CHECKING:
    from kopt.warm.parent import State


def take_over(connection: socket.socket, state: State, takes: int) -> list[str]:
    """Read the request and become the job; return the job's words, or end where the client runs the job.

    All that may fail comes before the fork takes the right to run the job; the client takes it where the fork ends.

    Args:
        connection: to the client; closed here.
        state: of the parent.
        takes: pipe that is closed when the job begins.
    """
    try:
        os.setsid()
        request, descriptors = wire.receive_request(connection)
        *standard, folder, lock, right = descriptors
        if not _proves(lock, state.lock):
            os._exit(1)
        for number, descriptor in enumerate(standard):
            os.dup2(descriptor, number)
        os.fchdir(folder)
        wire.close_all_but({connection.fileno(), takes, right})
        _become(request, state)
        if not wire.take_right(right):
            os._exit(1)
    except BaseException:  # noqa: BLE001 - the process ends here
        os._exit(1)
    connection.close()
    os.close(takes)
    os.close(right)
    return request.words


def _become(request: wire.Request, state: State) -> None:
    """Be what a process that has just begun with the client's words and environment would be."""
    os.umask(request.umask)
    os.environ.clear()
    os.environ.update(request.environ | dict(state.added))
    call_self(state.comm)
    sys.argv, sys.orig_argv[:] = request.words, request.command
    _show_command(request.command)
    _be_fresh()
    _set_signals(request)


def _proves(descriptor: int, lock: os.stat_result) -> bool:
    """Return whether a descriptor is the lock's file, opened to read and write, as no caged process could open it."""
    flags = fcntl.fcntl(descriptor, fcntl.F_GETFL)
    writable = flags & os.O_ACCMODE == os.O_RDWR and not flags & os.O_PATH
    return writable and os.path.samestat(os.fstat(descriptor), lock)


def _be_fresh() -> None:
    """Forget what the parent knew of its own environment, and be as random as a process that has just begun."""
    time.tzset()
    tempfile.tempdir = None
    multiprocessing.process.ORIGINAL_DIR = os.getcwd()  # type: ignore[attr-defined]
    multiprocessing.current_process().authkey = os.urandom(32)
    random.seed()
    if "numpy.random" in sys.modules:
        sys.modules["numpy.random"].seed()
    if os.isatty(1) and isinstance(sys.stdout, io.TextIOWrapper) and "PYTHONUNBUFFERED" not in os.environ:
        sys.stdout.reconfigure(line_buffering=True)
    importlib.invalidate_caches()
    _set_threads()


def _set_threads() -> None:
    """Let libraries that were loaded with one thread have as many as the job's variables say."""
    cores = len(os.sched_getaffinity(0))
    if (count := _number("OMP_NUM_THREADS", cores)) != 1 and "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(count)
    if (count := _number("OPENBLAS_NUM_THREADS", cores)) != 1 and "numpy" in sys.modules:
        with open("/proc/self/maps") as file:
            found = re.search(r"\S*/libscipy_openblas[^/\s]*", file.read())
        if found:
            with suppress(OSError, AttributeError):
                ctypes.CDLL(found[0]).scipy_openblas_set_num_threads64_(count)


def _number(name: str, default: int) -> int:
    text = os.environ.get(name, "")
    return int(text) if text.isdecimal() and int(text) else default


def _set_signals(request: wire.Request) -> None:
    """Handle signals as Python does at its start, where the client ignores some."""
    for number in signal.valid_signals():
        if number in (signal.SIGKILL, signal.SIGSTOP):
            continue
        with suppress(OSError, ValueError):
            if number in request.ignored:
                signal.signal(number, signal.SIG_IGN)
            elif number == signal.SIGINT:
                signal.signal(number, signal.default_int_handler)
            else:
                signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, request.blocked)


def _show_command(words: Sequence[str]) -> None:
    """Write a command line where `/proc` shows this process's own, cut to the room that the parent's has left."""
    (start, end), _ = initial_memory()
    room = end - start - 1
    if room > 0:
        text = b"\0".join(os.fsencode(word) for word in words)[:room]
        ctypes.memmove(start, text, len(text))


def call_self(comm: str) -> None:
    """Give this process a name, which `ps` shows."""
    with suppress(OSError), open("/proc/self/comm", "w") as file:
        file.write(comm)
