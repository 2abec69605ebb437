"""Run foreign code of problems in the cage, and bring back values and errors that are safe to show."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from typing import ParamSpec, TypeVar

from kopt.errors import KoptError, NotDone, ProblemError, WorkerDied
from kopt.model.base import Value
from kopt.neutral import visible
from kopt.problem.derive import Derived, derived
from kopt.problem.draft import Draft
from kopt.sandbox.caged_call import run_caged, run_caged_heard
from kopt.sandbox.fresh import Listener

P = ParamSpec("P")
V = TypeVar("V", bound=Value)

DERIVE_S = 300.0
"""Longest time to derive workloads, s."""


def caged(name: str, seconds: float, returns: type[V], function: Callable[P, V], *args: P.args, **named: P.kwargs) -> V:
    """Call a function that runs a problem's code, in the cage.

    Args:
        name: name of the problem, for messages.
        seconds: limit of the call.
        returns: the value's class.
        function: a function of a module, called with the arguments that follow.

    Raises:
        ProblemError: one line that says what is wrong; a death in the cage is the problem's.
    """
    with _in_words(name, seconds):
        return run_caged(seconds, returns, function, *args, **named)


def caged_heard(
    listener: Listener, name: str, seconds: float, returns: type[V], function: Callable[P, V], *args: P.args,
    **named: P.kwargs,
) -> V:  # fmt: skip
    """Call a function as `caged` does, and hear what it tells by `kopt.sandbox.caged_call.tell`.

    Raises:
        ProblemError: as for `caged`.
    """
    with _in_words(name, seconds):
        return run_caged_heard(listener, seconds, returns, function, *args, **named)


@contextmanager
def _in_words(name: str, seconds: float) -> Iterator[None]:
    """Turn what ends a call in the cage into an error in one line."""
    try:
        yield
    except NotDone as error:
        raise ProblemError(
            f"{name}: kopt runs the model, at full size without values and at small sizes on the CPU, and was not done "
            f"within {seconds:g} s: declare dtype and workloads with small sizes in problem.yaml, and lower the sizes "
            "in problem.py where forward loops over them in Python"
        ) from error
    except WorkerDied as error:
        raise ProblemError(f"{name}: its code cannot be run in the cage: {_one_line(error)}") from error
    except KoptError as error:
        raise type(error)(_one_line(error)) from error


def complete(draft: Draft) -> Derived:
    """Derive what a draft leaves open, in the cage; in one process the same draft once.

    Raises:
        ProblemError: one line that says what is wrong.
    """
    return _complete(draft.model_dump_json())


@cache
def _complete(draft: str) -> Derived:
    read = Draft.model_validate_json(draft)
    return caged(read.name, DERIVE_S, Derived, derived, read)


def _one_line(error: BaseException) -> str:
    return " ".join(visible(str(error)).split())
