"""Call a function that runs foreign code: in a caged child of a fresh process, whose answer is parsed, never unpickled.

The function's own module is imported outside the cage; what the function imports and runs is inside.  `kopt.sandbox.
fresh` is for trusted code, `kopt.sandbox.pool` for many candidates.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import ParamSpec, TypeVar

from pydantic import BaseModel

from kopt import errors
from kopt.errors import KoptError, NotDone, WorkerDied
from kopt.sandbox.cage import Limits
from kopt.sandbox.environment import NO_GPU, ONE_THREAD
from kopt.sandbox.fresh import Listener, run_in_shared, tell_caller
from kopt.sandbox.pipe import Malformed, Report
from kopt.sandbox.pool import Died, Raised, Returned, TimedOut, run_forked
from kopt.sandbox.reply import pack, unpack

P = ParamSpec("P")
M = TypeVar("M", bound=BaseModel)

CAGED = {**NO_GPU, **ONE_THREAD}
"""Environment of the process whose children are caged."""
START_S = 60.0
"""Most time of the fresh process beside the limit of the call: imports; generous, s."""
RESULT_BYTES = 64 << 20
"""Largest answer."""


_reports: list[Report] = []
"""In a caged child, its pipe to the process that it was forked from."""


class Answer(BaseModel):
    """The answer of the caged child: the function's result as JSON, or the error of kopt's that it raised."""

    result: str = ""
    error: str = ""
    """Name of the error's class; empty where there is a result."""
    message: str = ""


def run_caged(seconds: float, returns: type[M], function: Callable[P, M], *args: P.args, **named: P.kwargs) -> M:
    """Call a function in a caged child without a GPU, without network, with a scratch folder for its working directory.

    Modules are found where this process finds them, and in its working directory; what lies there can be read.

    Args:
        seconds: limit of the call.
        returns: the model that the function returns.
        function: a function of a module, called with the arguments that follow.

    Raises:
        KoptError: the function raised it; the text comes from the cage.
        WorkerDied: the function was not done in time, died, raised another error, or sent something else.
    """
    return run_caged_heard(None, seconds, returns, function, *args, **named)


def run_caged_heard(
    listener: Listener | None, seconds: float, returns: type[M], function: Callable[P, M], *args: P.args,
    **named: P.kwargs,
) -> M:  # fmt: skip
    """Call a function as `run_caged` does, and hear what it tells by `tell`; the texts come from the cage.

    Raises:
        KoptError, WorkerDied: as for `run_caged`.
    """
    answer = run_in_shared(
        CAGED, seconds + START_S, listener, _in_fresh_process, seconds, _Call(os.getcwd(), function, args, named)
    )
    if answer.error:
        kind = getattr(errors, answer.error, KoptError)
        raise (kind if isinstance(kind, type) and issubclass(kind, KoptError) else KoptError)(answer.message)
    try:
        return returns.model_validate_json(answer.result)
    except ValueError as error:
        raise WorkerDied(f"{function.__name__}: the answer from the cage cannot be parsed") from error


def tell(text: str) -> None:
    """Tell the caller of a caged call a text while the call goes on; outside of one, nobody."""
    for report in _reports:
        report.tell(text)


class _Call:
    """The call of a function, and the folder in which its modules are found last."""

    def __init__(
        self, folder: str, function: Callable[..., BaseModel], args: tuple[object, ...], named: dict[str, object]
    ) -> None:
        self.folder, self.function, self.args, self.named = folder, function, args, named

    def __call__(self, report: Report) -> bytes:
        if self.folder not in sys.path:  # not outside the cage: a module of kopt's own could be shadowed there
            sys.path.append(self.folder)
        _reports.append(report)
        try:
            return pack(Answer(result=self.function(*self.args, **self.named).model_dump_json()))
        except KoptError as error:
            return pack(Answer(error=type(error).__name__, message=str(error)))


def _in_fresh_process(seconds: float, call: _Call) -> Answer:
    """Run a call in a caged child of this process.

    Raises:
        NotDone: the child took too long.
        WorkerDied: the child gave no answer.
    """
    sys.path[:] = [str(Path(place).absolute()) for place in sys.path]  # the child changes its working directory
    places = [Path(place) for place in (call.folder, *sys.path)]
    readable = tuple(place for place in places if place.exists())
    limits = Limits(wall_s=seconds, result_bytes=RESULT_BYTES, readable=readable)
    ((_, outcome),) = run_forked([call], workers=1, limits=limits, listener=lambda _, text: tell_caller(text))
    name = call.function.__name__
    match outcome:
        case Returned(value=value):
            try:
                return unpack(value, Answer)[0]
            except Malformed as error:
                raise WorkerDied(f"{name}: {error}") from error
        case Raised(kind=kind, message=message):
            raise WorkerDied(f"{name} raised {kind}: {' '.join(message.split())[:300]}")
        case TimedOut():
            raise NotDone(f"{name} was not done within {seconds:g} s, and was killed")
        case Died(reason=reason):
            raise WorkerDied(f"{name} {reason}")
