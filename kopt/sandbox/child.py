"""A forked child's life, with the task that it runs in its cage; who watches it is `kopt.sandbox.pool`."""

from __future__ import annotations

import json
import os
import signal
import traceback
from collections.abc import Callable
from pathlib import Path

from kopt.sandbox import cage
from kopt.sandbox.cage import Limits
from kopt.sandbox.pipe import RAISED, RETURNED, STATUS, Report

TRACEBACK_CHARS = 4000

Task = Callable[[Report], bytes]


def live(task: Task, report: Report, parent: int, output: int, scratch: Path, limits: Limits) -> None:
    """The child's whole life, from the fork on; never returns.

    Args:
        task: what to run.
        report: its pipes to the parent.
        parent: the parent's pid as seen before the fork.
        output: where stdout and stderr go.
        scratch: the folder that stays writable.
        limits: what it may use.
    """
    try:
        os.setsid()
        cage.die_with_parent(parent)
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        _redirect(output)
        if "process" in cage.leave_namespaces(limits):
            _stand_before(lambda: cage.die_with_parent(0), report, closed=True)
            _stand_before(lambda: None, report, closed=False)
        cage.enter(scratch, limits, {report.descriptor, report.inbox})
        _perform(task, report)
    finally:
        os._exit(1)


def _redirect(output: int) -> None:
    """Read nothing, and print into the parent's pipe."""
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.dup2(output, 1)
    os.dup2(output, 2)


def _stand_before(begin: Callable[[], None], report: Report, closed: bool) -> None:
    """Fork once more: the new child returns, this process waits for it and exits.

    Args:
        begin: called first in the new child.
        report: where the status is sent, unless `closed`, which means that this process is to hold nothing open.
        closed: see `report`.
    """
    pid = os.fork()
    if pid == 0:
        begin()
        return
    for descriptor in (1, 2, *((report.descriptor,) if closed else ())):
        os.close(descriptor)
    while True:
        reaped, status = os.wait()
        if os.WIFSTOPPED(status):  # it asked to be traced
            os.kill(reaped, signal.SIGKILL)
        elif reaped == pid:
            break
    if not closed:
        report.send(STATUS, str(status).encode())
    os._exit(0)


def _perform(task: Task, report: Report) -> None:
    try:
        result = task(report)
        assert isinstance(result, bytes)
    except BaseException as error:  # noqa: BLE001 - here the process ends, and the parent hears why
        report.send(RAISED, json.dumps([type(error).__name__, str(error), _tail(error)]).encode())
    else:
        report.send(RETURNED, result)
    os._exit(0)


def _tail(error: BaseException) -> str:
    return "".join(traceback.format_exception(error))[-TRACEBACK_CHARS:]
