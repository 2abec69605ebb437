"""Call a function in a fresh process: the compiler, the interpreter and CUDA cannot share one.

For trusted functions only; candidates run in `kopt.sandbox.pool`, in children of such a process.
"""

from __future__ import annotations

import importlib
import os
import pickle
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from contextvars import ContextVar
from dataclasses import dataclass
from multiprocessing import get_context
from types import ModuleType, TracebackType
from typing import ParamSpec, TypeVar

from kopt.errors import KoptError, WorkerDied
from kopt.sandbox.cage import die_with_parent
from kopt.sandbox.exchange import Exchange
from kopt.sandbox.processes import kill_unreaped, wait_for_end

P = ParamSpec("P")
R = TypeVar("R")

MAIN = "__main__"
"""Module of the program that a process was started with."""
OF_MAIN = pickle.SHORT_BINUNICODE + bytes([len(MAIN)]) + MAIN.encode()
"""The pickled name of that module, which a call holds whose function or arguments are defined there."""
END_S = 10.0
"""Longest wait for the status of a process that has closed its pipe, s."""

Listener = Callable[[str], None]
"""Takes a text that a call tells while it goes on."""


@dataclass(frozen=True)
class _Told:
    """A text that a call tells its caller while it goes on."""

    text: str


_callers: list[Exchange] = []
"""In a fresh process, the exchange with its caller."""
_kept: ContextVar[FreshProcess | None] = ContextVar("process that calls share", default=None)


def run_in_fresh_process(seconds: float, function: Callable[P, R], *args: P.args, **named: P.kwargs) -> R:
    """Call a function in a fresh process, which outlives neither this call nor this process.

    Args:
        seconds: limit of the call.
        function: a function of a module, called with the arguments that follow.

    Raises:
        WorkerDied: the function was not done in time, or the process ended without an answer and printed its
            traceback to stderr.
        KoptError: the function raised it.
    """
    return run_with_environment({}, seconds, function, *args, **named)


def run_with_environment(
    variables: Mapping[str, str], seconds: float, function: Callable[P, R], *args: P.args, **named: P.kwargs
) -> R:
    """Call a function like `run_in_fresh_process`, with environment variables set before its module is imported.

    Args:
        variables: values by name, e.g. `kopt.sandbox.environment.NO_GPU`.
        seconds: limit of the call.
        function: a function of a module, called with the arguments that follow.

    Raises:
        WorkerDied, KoptError: as for `run_in_fresh_process`.
    """
    call = pickle.dumps((function, args, named))
    with FreshProcess(variables, imports_main=OF_MAIN in call) as process:
        return process.call(seconds, function, *args, **named)


@contextmanager
def sharing_process(variables: Mapping[str, str], modules: Sequence[str]) -> Iterator[None]:
    """Let all calls by `run_in_shared` inside the block be made in one process, which imports modules once.

    Args:
        variables: environment variables to set before any module is imported.
        modules: names of modules that the calls need, imported at once.
    """
    with FreshProcess(variables, modules=modules) as process:
        token = _kept.set(process)
        try:
            yield
        finally:
            _kept.reset(token)


def run_in_shared(
    variables: Mapping[str, str], seconds: float, listener: Listener | None, function: Callable[P, R], *args: P.args,
    **named: P.kwargs,
) -> R:  # fmt: skip
    """Call a function in the process that calls share (`sharing_process`), where there is one; else in a fresh one.

    For functions that leave the process as it was for the next one, as those that do their work in forked children.

    Args:
        variables: environment variables of a fresh process.
        seconds: limit of the call.
        listener: called with what the function tells by `tell_caller`; None: nobody listens.
        function: a function of a module, called with the arguments that follow.

    Raises:
        WorkerDied, KoptError: as for `run_in_fresh_process`.
    """
    if (shared := _kept.get()) is not None:
        return shared.call_heard(listener, seconds, function, *args, **named)
    call = pickle.dumps((function, args, named))
    with FreshProcess(variables, imports_main=OF_MAIN in call) as process:
        return process.call_heard(listener, seconds, function, *args, **named)


def tell_caller(text: str) -> None:
    """Tell the caller of this fresh process a text while its call goes on; elsewhere, nobody."""
    for caller in _callers:
        caller.send(_Told(text))


class FreshProcess:
    """A fresh process, which imports modules while its caller does something else, and then makes calls."""

    def __init__(
        self, variables: Mapping[str, str], *, modules: Sequence[str] = (), imports_main: bool = False
    ) -> None:
        """Start the process.

        Args:
            variables: environment variables to set before any module is imported.
            modules: names of modules that the call needs, imported at once.
            imports_main: whether the call needs the program that runs here.
        """
        context = get_context("spawn")
        self._exchange, other = Exchange.pair()
        self._process = context.Process(target=_answer, args=(other, os.getpid(), dict(variables), tuple(modules)))
        with nullcontext() if imports_main else _main_hidden():
            self._process.start()
        assert self._process.pid is not None
        self._pidfd = os.pidfd_open(self._process.pid)
        other.close()

    def __enter__(self) -> FreshProcess:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self._end()
        self._exchange.close()
        os.close(self._pidfd)

    def call(self, seconds: float, function: Callable[P, R], *args: P.args, **named: P.kwargs) -> R:
        """Make a call.

        Args:
            seconds: limit of the call.
            function: a function of a module, called with the arguments that follow.

        Raises:
            WorkerDied, KoptError: as for `run_in_fresh_process`.
        """
        return self.call_heard(None, seconds, function, *args, **named)

    def call_heard(
        self, listener: Listener | None, seconds: float, function: Callable[P, R], *args: P.args, **named: P.kwargs
    ) -> R:
        """Make a call, and hear what it tells while it goes on.

        Args:
            listener: called with what the function tells by `tell_caller`; None: nobody listens.
            seconds: limit of the call.
            function: a function of a module, called with the arguments that follow.

        Raises:
            WorkerDied, KoptError: as for `run_in_fresh_process`.
        """
        until = time.monotonic() + seconds
        try:
            self._exchange.send((function, args, named), seconds)
            answer: R | KoptError | _Told = self._exchange.receive(until - time.monotonic())
            while isinstance(answer, _Told):
                if listener is not None:
                    listener(answer.text)
                answer = self._exchange.receive(until - time.monotonic())
        except TimeoutError as error:
            raise WorkerDied(f"{function.__name__} was not done within {seconds:g} s") from error
        except (EOFError, BrokenPipeError, ConnectionResetError) as error:
            ended = wait_for_end(self._pidfd, END_S)
            self._end()
            status = f"status {self._process.exitcode}" if ended else "and went on"
            raise WorkerDied(f"{function.__name__} ended without an answer, {status}") from error
        if isinstance(answer, KoptError):
            raise answer
        return answer

    def _end(self) -> None:
        """Kill the process and all that it has started, and reap it."""
        assert self._process.pid is not None
        kill_unreaped(self._process.pid, self._pidfd)
        self._process.join()


@contextmanager
def _main_hidden() -> Iterator[None]:
    """Hide the program that runs here, which a fresh process would import again: all of Snakemake takes 0.7 s."""
    program = sys.modules[MAIN]
    sys.modules[MAIN] = ModuleType(MAIN)
    try:
        yield
    finally:
        sys.modules[MAIN] = program


def _answer(exchange: Exchange, parent: int, variables: dict[str, str], modules: tuple[str, ...]) -> None:
    """Run in the fresh process: import modules, make the pickled calls, and send the result or the error of each."""
    os.setsid()
    die_with_parent(parent)
    os.environ.update(variables)
    for name in modules:
        importlib.import_module(name)
    _callers.append(exchange)
    while True:
        try:
            function, args, named = exchange.receive()
        except EOFError:  # no call comes
            return
        try:
            answer = function(*args, **named)
        except KoptError as error:
            answer = error
        sys.stdout.flush()
        exchange.send(answer)
