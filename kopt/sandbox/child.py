"""Run a task in a forked child: enter the cage, call the task, report; `kopt.sandbox.pool` watches the child."""

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
"""What a child runs; its result goes to the parent."""


def live(task: Task, report: Report, parent: int, output: int, scratch: Path, limits: Limits) -> None:
    """Run a task in a freshly forked child, from the fork on; never returns.

    Args:
        task: what to run.
        report: the child's pipes to and from its parent.
        parent: the parent's pid as seen before the fork.
        output: file descriptor for stdout and stderr.
        scratch: the folder that stays writable.
        limits: what the child may use.
    """
    try:
        os.setsid()
        cage.die_with_parent(parent)
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        _redirect(output)
        if "process" in cage.leave_namespaces(limits):
            _fork_and_wait(lambda: cage.die_with_parent(0), report, silent=True)
            _fork_and_wait(lambda: None, report, silent=False)
        cage.enter(scratch, limits, {report.descriptor, report.inbox})
        _perform(task, report)
    finally:
        os._exit(1)


def _redirect(output: int) -> None:
    """Make stdin empty, and stdout and stderr the parent's pipe."""
    empty = os.open(os.devnull, os.O_RDONLY)
    os.dup2(empty, 0)
    os.dup2(output, 1)
    os.dup2(output, 2)


def _fork_and_wait(begin: Callable[[], None], report: Report, silent: bool) -> None:
    """Fork once more: the new child returns, this process waits for it and exits.

    Args:
        begin: called first in the new child.
        report: where the wait status of the new child is sent.
        silent: send no status, and hold no pipe open.
    """
    pid = os.fork()
    if pid == 0:
        begin()
        return
    for descriptor in (1, 2, *((report.descriptor,) if silent else ())):
        os.close(descriptor)
    while True:
        reaped, status = os.wait()
        if os.WIFSTOPPED(status):  # the new child asked to be traced
            os.kill(reaped, signal.SIGKILL)
        elif reaped == pid:
            break
    if not silent:
        report.send(STATUS, str(status).encode())
    os._exit(0)


def _perform(task: Task, report: Report) -> None:
    try:
        result = task(report)
        assert isinstance(result, bytes)
    except BaseException as error:  # noqa: BLE001 - the process ends here, and reports why to its parent
        report.send(RAISED, json.dumps([type(error).__name__, str(error), _traceback_tail(error)]).encode())
    else:
        report.send(RETURNED, result)
    os._exit(0)


def _traceback_tail(error: BaseException) -> str:
    return "".join(traceback.format_exception(error))[-TRACEBACK_CHARS:]
