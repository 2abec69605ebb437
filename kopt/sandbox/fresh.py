"""A call in a fresh process of our own: the compiler, the interpreter and CUDA cannot share one.

For trusted functions only; candidates run in `kopt.sandbox.pool`, below such a process.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from multiprocessing import get_context
from multiprocessing.connection import Connection
from typing import Any, ParamSpec, TypeVar

from kopt.errors import KoptError, WorkerDied
from kopt.sandbox.cage import die_with_parent
from kopt.sandbox.processes import kill_all

P = ParamSpec("P")
R = TypeVar("R")

END_S = 10.0
"""Longest wait for the status of a process that has closed its pipe."""


def run_in_fresh_process(seconds: float, function: Callable[P, R], *args: P.args, **named: P.kwargs) -> R:
    """Call a function in a fresh process, which does not outlive this call or this process.

    Args:
        seconds: limit of the call.
        function: of a module, called with what follows.

    Raises:
        WorkerDied: it was not done in time, or the process ended without an answer, its traceback on stderr.
        KoptError: whatever of ours the function raised.
    """
    context = get_context("spawn")
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(target=_answer, args=(theirs, os.getpid(), function, args, named))
    process.start()
    theirs.close()
    try:
        if not ours.poll(seconds):
            raise WorkerDied(f"{function.__name__} was not done within {seconds:g} s")
        answer: R | KoptError = ours.recv()
    except EOFError as error:
        process.join(END_S)
        raise WorkerDied(f"{function.__name__} ended without an answer, status {process.exitcode}") from error
    finally:
        ours.close()
        if process.pid is not None:
            kill_all(process.pid)
        process.join()
    if isinstance(answer, KoptError):
        raise answer
    return answer


def _answer(pipe: Connection, parent: int, function: Callable[..., Any], args: Any, named: Any) -> None:
    os.setsid()
    die_with_parent(parent)
    try:
        answer = function(*args, **named)
    except KoptError as error:
        answer = error
    sys.stdout.flush()
    pipe.send(answer)
    pipe.close()
