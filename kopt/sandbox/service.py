"""A trusted process of ours, forked from one that has no CUDA context, that answers calls until it is told to end.

The referee and the timer are such processes: they hold a CUDA context, run no candidate's Python code, and may die of a
candidate's launch.  Every call has a limit; a process that does not answer in time is killed.
"""

from __future__ import annotations

import multiprocessing
import multiprocessing.connection
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from kopt.errors import DeviceError, ProblemError, WorkerDied
from kopt.sandbox.cage import die_with_parent
from kopt.sandbox.processes import kill_all

PREPARE_S = 300.0
"""Limit of making inputs or answers, s."""
CHECK_S = 30.0
"""Limit of one replay with its synchronisation, s."""
END_S = 5.0
"""Longest wait for a process that was told to end."""


class CallFailed(DeviceError):
    """The service raised; the message says what."""

    def __init__(self, message: str, process: str = "") -> None:
        super().__init__(message)
        self.process = process
        """Name of the process that holds the service."""


class CallTimedOut(WorkerDied):
    """The service did not answer in time and was killed."""


class ServiceProcess:
    """A forked process that holds one service."""

    def __init__(self, name: str, make: Callable[[], Any]) -> None:
        """Fork it; `make` is called in the child and returns the object whose methods are called."""
        self.name = name
        self.spent: dict[str, float] = {}
        """Seconds by method, waiting included."""
        self._begun: list[str] = []
        self._ours, theirs = multiprocessing.Pipe(duplex=True)
        parent = os.getpid()
        sys.stdout.flush()
        sys.stderr.flush()
        self.pid = os.fork()
        if self.pid == 0:
            self._ours.close()
            _serve(theirs, make, parent)
        theirs.close()

    def begin(self, method: str, *arguments: Any) -> None:
        """Have a method called while we do something else; what it raises, the next call raises.

        Raises:
            WorkerDied: the process died.
        """
        try:
            self._ours.send((method, arguments))
        except OSError as error:
            self.kill()
            raise WorkerDied(f"{self.name} died before {method}") from error
        self._begun.append(method)

    def call(self, method: str, *arguments: Any, seconds: float) -> Any:
        """Call a method of the service.

        Raises:
            CallTimedOut: no answer in time; the process is dead now.
            WorkerDied: the process died.
            ProblemError: the problem is to blame.
            CallFailed: the service raised anything else.
        """
        while self._begun:  # they may take their own time
            self._answer(self._begun.pop(0), max(seconds, PREPARE_S))
        try:
            self._ours.send((method, arguments))
        except OSError as error:
            self.kill()
            raise WorkerDied(f"{self.name} died before {method}") from error
        return self._answer(method, seconds)

    def _answer(self, method: str, seconds: float) -> Any:
        """What the method returned; waits for it."""
        since = time.perf_counter()
        try:
            if not self._ours.poll(seconds):
                self.kill()
                raise CallTimedOut(f"{self.name}: {method} did not end within {seconds:g} s")
            kind, value = self._ours.recv()
        except (EOFError, BrokenPipeError, ConnectionResetError, OSError) as error:
            self.kill()
            raise WorkerDied(f"{self.name} died in {method}") from error
        finally:
            self.spent[method] = self.spent.get(method, 0.0) + time.perf_counter() - since
        if kind == "returned":
            return value
        raise ProblemError(value) if kind == "problem" else CallFailed(value, self.name)

    def end(self) -> None:
        """Let it end by itself; kill it if it does not."""
        with suppress(OSError):
            self._ours.send(None)
            self._ours.poll(END_S)
        self.kill()

    def kill(self) -> None:
        """Kill it and all that it started."""
        if self.pid:
            kill_all(self.pid)
            with suppress(ChildProcessError):
                os.waitpid(self.pid, 0)
            self._ours.close()
            self.pid = 0


def _serve(pipe: multiprocessing.connection.Connection, make: Callable[[], Any], parent: int) -> None:
    """The child's whole life; never returns."""
    try:
        os.setsid()
        die_with_parent(parent)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        service: Any = None
        while (request := pipe.recv()) is not None:
            method, arguments = request
            try:
                service = service or make()
                pipe.send(("returned", getattr(service, method)(*arguments)))
            except ProblemError as error:
                pipe.send(("problem", str(error)))
            except Exception as error:  # noqa: BLE001 - the caller hears of it and decides
                tail = "".join(traceback.format_exception(error)[-3:])
                pipe.send(("failed", f"{type(error).__name__}: {error}\n{tail}"))
    finally:
        os._exit(0)
