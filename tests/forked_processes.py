"""Fork the processes of `kopt.sandbox.fresh` from one that has imported torch and Triton, which take 2 s to import.

Tests of fresh processes themselves, and whatever tests start as programs, have processes that import for themselves.

The server forks twice, so that the process that asked becomes the parent of the new one.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
import traceback
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NoReturn

from kopt.sandbox import fresh
from kopt.sandbox.exchange import Exchange
from kopt.sandbox.processes import adopt_orphans

REALLY = fresh.FreshProcess.__init__
"""Begins a process that is really fresh."""
ROOT = Path(__file__).resolve().parents[1]
MOST = 1 << 20
"""Longest request, bytes."""
START_S = 300.0
"""Longest wait for a process, with the imports before the first one, s."""


class Server:
    """The process that others are forked from; it starts with the first request and ends with this process."""

    def __init__(self) -> None:
        self._control: socket.socket | None = None

    def fork(self, exchange: int, variables: Mapping[str, str], modules: Sequence[str]) -> int:
        """Return the pid of a new child of this process, which answers a call on the descriptor `exchange`."""
        control = self._control = self._control or self._started()
        request = [os.getpid(), dict(os.environ), os.getcwd(), sys.path, dict(variables), list(modules)]
        socket.send_fds(control, [json.dumps(request).encode()], [exchange, 1, 2])
        return int(control.recv(64))

    def _started(self) -> socket.socket:
        adopt_orphans()
        control, other = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        control.settimeout(START_S)
        for end in (control, other):
            end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, MOST)
        command = [sys.executable, "-P", __file__, str(other.fileno())]
        subprocess.Popen(command, pass_fds=[other.fileno()], env={**os.environ, "PYTHONPATH": str(ROOT)})
        other.close()
        return control


class Child:
    """A forked process, as `multiprocessing.Process` would show it."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.exitcode: int | None = None

    def join(self) -> None:
        """Wait for the end, and reap the process."""
        if self.exitcode is None:
            self.exitcode = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])


SERVER = Server()


def install() -> None:
    """Make `kopt.sandbox.fresh` fork its processes."""
    fresh.FreshProcess.__init__ = begun


def begun(process: fresh.FreshProcess, variables: Mapping[str, str], *, modules: Sequence[str] = (), **_: bool) -> None:
    """Begin a process that is forked; in place of `FreshProcess.__init__`."""
    one, other = socket.socketpair()
    process._exchange = Exchange(one)
    process._process = Child(SERVER.fork(other.fileno(), variables, modules))
    process._pidfd = os.pidfd_open(process._process.pid)
    other.close()


def _serve(control: socket.socket) -> None:
    import triton  # noqa: F401

    from kopt.device.build.build import hash_compiler

    hash_compiler()
    while True:
        data, descriptors, _, _ = socket.recv_fds(control, MOST, 3)
        if not data:
            return
        if (middle := os.fork()) == 0:
            if os.fork() == 0:
                _become(control, json.loads(data), descriptors)
            os._exit(0)
        os.waitpid(middle, 0)
        for descriptor in descriptors:
            os.close(descriptor)


def _become(control: socket.socket, request: list, descriptors: list[int]) -> NoReturn:
    """Answer one call in a process whose parent is the one that asked."""
    parent, environ, folder, path, variables, modules = request
    while os.getppid() != parent:
        time.sleep(0.001)
    control.send(str(os.getpid()).encode())
    control.close()
    exchange, out, err = descriptors
    for source, target in ((os.open(os.devnull, os.O_RDONLY), 0), (out, 1), (err, 2)):
        os.dup2(source, target)
        os.close(source)
    os.environ.clear()
    os.environ.update(environ)
    os.chdir(folder)
    sys.path[:] = path
    status = 0
    try:
        fresh._answer(Exchange(socket.socket(fileno=exchange)), parent, variables, tuple(modules))
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else 1
    except BaseException:  # noqa: BLE001  # the process ends here
        traceback.print_exc()
        status = 1
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


if __name__ == "__main__":
    _serve(socket.socket(fileno=int(sys.argv[1])))
