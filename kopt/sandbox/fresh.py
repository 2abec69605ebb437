"""Call a function in a fresh process: the compiler, the interpreter and CUDA cannot share one.

For trusted functions only; candidates run in `kopt.sandbox.pool`, in children of such a process.
"""

from __future__ import annotations

import os
import pickle
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from multiprocessing import get_context
from multiprocessing.connection import Connection
from types import ModuleType
from typing import ParamSpec, TypeVar

from kopt.errors import KoptError, WorkerDied
from kopt.sandbox.cage import die_with_parent
from kopt.sandbox.processes import kill_all

P = ParamSpec("P")
R = TypeVar("R")

MAIN = "__main__"
"""Module of the program that a process was started with."""
OF_MAIN = pickle.SHORT_BINUNICODE + bytes([len(MAIN)]) + MAIN.encode()
"""The pickled name of that module, which a call holds whose function or arguments are defined there."""
END_S = 10.0
"""Longest wait for the status of a process that has closed its pipe, s."""


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
    context = get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    call = pickle.dumps((function, args, named))
    process = context.Process(target=_answer, args=(sender, os.getpid(), dict(variables), call))
    with nullcontext() if OF_MAIN in call else _main_hidden():
        process.start()
    sender.close()
    try:
        if not receiver.poll(seconds):
            raise WorkerDied(f"{function.__name__} was not done within {seconds:g} s")
        answer: R | KoptError = receiver.recv()
    except EOFError as error:
        process.join(END_S)
        raise WorkerDied(f"{function.__name__} ended without an answer, status {process.exitcode}") from error
    finally:
        receiver.close()
        if process.pid is not None:
            kill_all(process.pid)
        process.join()
    if isinstance(answer, KoptError):
        raise answer
    return answer


@contextmanager
def _main_hidden() -> Iterator[None]:
    """Hide the program that runs here, which a fresh process would import again: all of Snakemake takes 0.7 s."""
    program = sys.modules[MAIN]
    sys.modules[MAIN] = ModuleType(MAIN)
    try:
        yield
    finally:
        sys.modules[MAIN] = program


def _answer(pipe: Connection, parent: int, variables: dict[str, str], call: bytes) -> None:
    """Run in the fresh process: make the pickled call, and send its result or its error."""
    os.setsid()
    die_with_parent(parent)
    os.environ.update(variables)
    function, args, named = pickle.loads(call)
    try:
        answer = function(*args, **named)
    except KoptError as error:
        answer = error
    sys.stdout.flush()
    pipe.send(answer)
    pipe.close()
