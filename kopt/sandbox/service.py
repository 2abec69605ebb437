"""Keep a trusted process that answers calls until it is asked to end, forked from one without a CUDA context.

The referee and the timer are such processes: they hold a CUDA context, run no candidate's Python code, and may die of a
candidate's launch.  Every call has a limit; a process that does not answer in time is killed.
"""

from __future__ import annotations

import os
import signal
import sys
import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from typing import Any  # arguments and results of methods that are called by name

from kopt.errors import DeviceError, ProblemError, WorkerDied
from kopt.sandbox.cage import die_with_parent
from kopt.sandbox.exchange import Exchange
from kopt.sandbox.processes import kill_all

PREPARE_S = 300.0
"""Limit of making inputs or expected outputs, s."""
CHECK_S = 30.0
"""Limit of one replay with its synchronisation, s."""
END_S = 5.0
"""Longest wait for the end of a process that was asked to end, s."""


class CallFailed(DeviceError):
    """The service raised an error, which the message quotes."""

    def __init__(self, message: str, process: str = "") -> None:
        super().__init__(message)
        self.process = process
        """Name of the process that holds the service."""


class CallTimedOut(WorkerDied):
    """The service did not answer in time and was killed."""


class ServiceProcess:
    """A forked process that holds one service: an object whose methods are called by name.

    Arguments and results have any type that can be pickled (`Any`): the caller knows the methods.
    """

    def __init__(self, name: str, make: Callable[[], object]) -> None:
        """Fork the process.

        Args:
            name: name of the process, for messages, e.g. `the referee`.
            make: makes the service; called in the new process at the first call.
        """
        self.name = name
        self.spent: dict[str, float] = {}
        """Seconds waited by method."""
        self._begun: list[str] = []
        self._exchange, other = Exchange.pair()
        parent = os.getpid()
        sys.stdout.flush()
        sys.stderr.flush()
        self.pid = os.fork()
        if self.pid == 0:
            self._exchange.close()
            _serve(other, make, parent)
        other.close()

    def begin(self, method: str, *arguments: Any) -> None:
        """Begin a call and do not wait for it; an error that the method raises is raised by the next `call`.

        Raises:
            CallTimedOut: the process, busy with earlier calls, has not taken this one in time; it has been killed.
            WorkerDied: the process died.
        """
        self._send(method, arguments, PREPARE_S)
        self._begun.append(method)

    def call(self, method: str, *arguments: Any, seconds: float) -> Any:
        """Call a method of the service and return its result.

        Raises:
            CallTimedOut: no answer came in time; the process has been killed.
            WorkerDied: the process died.
            ProblemError: the method raised it.
            CallFailed: the method raised any other error.
        """
        while self._begun:  # calls that were begun have their own limit
            self._answer(self._begun.pop(0), max(seconds, PREPARE_S))
        self._send(method, arguments, seconds)
        return self._answer(method, seconds)

    def _send(self, method: str, arguments: tuple[Any, ...], seconds: float) -> None:
        try:
            self._exchange.send((method, arguments), seconds)
        except TimeoutError as error:
            self.kill()
            raise CallTimedOut(f"{self.name}: {method} was not taken within {seconds:g} s") from error
        except OSError as error:
            self.kill()
            raise WorkerDied(f"{self.name} died before {method}") from error

    def _answer(self, method: str, seconds: float) -> Any:
        """Wait for a method's result and return it."""
        since = time.perf_counter()
        try:
            kind, value = self._exchange.receive(seconds)
        except TimeoutError as error:
            self.kill()
            raise CallTimedOut(f"{self.name}: {method} did not end within {seconds:g} s") from error
        except (EOFError, OSError) as error:
            self.kill()
            raise WorkerDied(f"{self.name} died in {method}") from error
        finally:
            self.spent[method] = self.spent.get(method, 0.0) + time.perf_counter() - since
        if kind == "returned":
            return value
        raise ProblemError(value) if kind == "problem" else CallFailed(value, self.name)

    def end(self) -> None:
        """Ask the process to end; kill it if it does not."""
        with suppress(OSError, EOFError):
            self._exchange.send(None, END_S)
            self._exchange.receive(END_S)
        self.kill()

    def kill(self) -> None:
        """Kill the process and all that it started."""
        if self.pid:
            kill_all(self.pid)
            with suppress(ChildProcessError):
                os.waitpid(self.pid, 0)
            self._exchange.close()
            self.pid = 0


def _serve(exchange: Exchange, make: Callable[[], object], parent: int) -> None:
    """Make the service and answer calls of its methods; never returns."""
    try:
        os.setsid()
        die_with_parent(parent)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        service: object = None
        while (request := exchange.receive()) is not None:
            method, arguments = request
            try:
                service = service or make()
                exchange.send(("returned", getattr(service, method)(*arguments)))
            except ProblemError as error:
                exchange.send(("problem", str(error)))
            except Exception as error:  # noqa: BLE001 - the caller gets the error and decides
                tail = "".join(traceback.format_exception(error)[-3:])
                exchange.send(("failed", f"{type(error).__name__}: {error}\n{tail}"))
    finally:
        os._exit(0)
