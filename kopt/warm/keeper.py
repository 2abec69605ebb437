"""Keep one job for its client: fork it, pass signals on, tell how it ended, and kill it when its client has gone."""

from __future__ import annotations

import os
import select
import signal
import socket
from contextlib import suppress
from typing import TYPE_CHECKING

from kopt.sandbox.cage import die_with_parent
from kopt.sandbox.processes import kill_all
from kopt.warm import wire
from kopt.warm.place import KEEPER
from kopt.warm.takeover import call_self, take_over

if TYPE_CHECKING:
    from kopt.warm.parent import State


def keep(connection: socket.socket, state: State, parent: int) -> list[str]:
    """Keep a job; return its words in the process that is to run it, and never in the keeper.

    Args:
        connection: to the client; it stays a blocking one, since keeper and job share its state.
        state: of the parent that has forked this process.
        parent: pid of that parent.
    """
    try:
        os.setsid()
        call_self(KEEPER)
        if state.files.changed():
            with suppress(OSError):
                connection.sendall(wire.STALE)
            if os.getppid() == parent:
                os.kill(state.light, signal.SIGTERM)
            os._exit(0)
        taken, takes = os.pipe()
        keeper = os.getpid()
        job = os.fork()
    except OSError:  # the client sees the connection end, and runs the job
        os._exit(1)
    if job == 0:
        os.close(taken)
        die_with_parent(keeper)
        return take_over(connection, state, takes)
    try:
        os.close(takes)
        ended = os.pidfd_open(job)
        connection.sendall(wire.READY)  # what could fail has not: from now on only its client's end ends a job
        os.read(taken, 1)  # until the job has begun or ended, the socket is the job's
        _watch(connection, job, ended)
    except BaseException:  # noqa: BLE001 - the process ends here
        kill_all(job)
        os._exit(1)
    _, status = os.waitpid(job, 0)
    with suppress(OSError):
        wire.send_status(connection, os.waitstatus_to_exitcode(status))
    os._exit(0)


def _watch(connection: socket.socket, job: int, ended: int) -> None:
    """Pass signals on until the job has ended, which stays to be reaped.

    Args:
        connection: to the client.
        job: pid of the job.
        ended: its pidfd.

    Raises:
        EOFError, OSError: the client has gone.
    """
    watched: list[int | socket.socket] = [connection, ended]
    while True:
        ready, _, _ = select.select(watched, [], [])
        if ended in ready:
            return
        try:
            numbers = connection.recv(64, socket.MSG_DONTWAIT)
        except BlockingIOError:
            continue
        if not numbers:
            raise EOFError
        for number in numbers:
            _pass_on(job, number)


def _pass_on(job: int, number: int) -> None:
    """Send a signal to a job; one of a terminal goes to the job's whole process group, as a terminal sends it."""
    with suppress(OSError):
        if number == signal.SIGTSTP:  # without effect in a session of its own
            os.killpg(job, signal.SIGSTOP)
        elif number in (signal.SIGINT, signal.SIGQUIT, signal.SIGHUP, signal.SIGCONT):
            os.killpg(job, number)
        else:
            os.kill(job, number)
