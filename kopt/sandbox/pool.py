"""Run untrusted tasks in forked children that are caged, watched and killed at their limits.

The parent imports expensive modules (torch, triton) once; a child then costs milliseconds.  The parent must not have
used a thread pool (OpenMP, BLAS) before: its threads do not survive a fork.

    parent ── child (own session) ── init of a process namespace ── the task
              leaves namespaces       reaps, reports the status      enters the cage, runs

Killing the child kills the init, and with it everything in the namespace.  Where process namespaces are not permitted,
or for work on a GPU, the child runs the task itself; then its process group and descendants are killed, and the parent
adopts and kills descendants that detached themselves.

A task that misbehaves costs its own slot only: every ending is one of the outcomes below.  The end of a task's output
is kept to explain a death; all other output is dropped.
"""

from __future__ import annotations

import json
import math
import os
import selectors
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from kopt.sandbox.cage import Limits, installed_places
from kopt.sandbox.child import Task
from kopt.sandbox.pipe import ASKED, PHASE, RAISED, RETURNED, STATUS, TOLD, Malformed
from kopt.sandbox.processes import adopt_orphans, children, descendants, kill_orphans
from kopt.sandbox.running import START_PHASE, Listener, RunningChild, start_child
from kopt.sandbox.use import is_fuller, memory_used, resident

TICK_S = 0.5
"""Interval at which the children's processes are counted, s."""
GRACE_S = 20.0
"""Time past its limit that a child has to finish sending a result that it has begun, s."""
TOLD_BYTES = 1 << 20
"""Most bytes that a child may tell while it runs."""


@dataclass(frozen=True)
class Returned:
    """The task returned a value."""

    value: bytes
    output: str = field(default="", compare=False)
    """The end of the child's stdout and stderr."""


@dataclass(frozen=True)
class Raised:
    """The task raised (`SystemExit` and the like included)."""

    kind: str
    """Name of the exception's class."""
    message: str
    traceback_tail: str
    phase: str


@dataclass(frozen=True)
class Died:
    """The child ended without a result: by a signal, an exit, a memory or process limit, or a malformed frame."""

    reason: str
    phase: str
    output: str = ""
    """The end of the child's stdout and stderr."""


@dataclass(frozen=True)
class TimedOut:
    """The child was killed at its wall-clock limit."""

    phase: str
    seconds: float


Outcome = Returned | Raised | Died | TimedOut
MessageFor = Callable[[int], bytes | None]
"""From a task's index to the message that the task asks for; None when there is no message yet."""


def run_forked(
    tasks: Sequence[Task], *, workers: int, limits: Limits, message_for: MessageFor | None = None,
    listener: Listener | None = None,
) -> Iterator[tuple[int, Outcome]]:  # fmt: skip
    """Run every task in a caged child, `workers` at a time; yield (index, outcome) as the tasks end.

    A task's working directory is its child's scratch folder, the only place that the task may write to; the folder is
    removed afterwards.  Closing the iterator early kills all running children.

    Args:
        tasks: the tasks to run.
        workers: how many at a time.
        limits: limits of each child; the child's time begins anew when its message has been sent.
        message_for: makes the message for a task that asks (`Report.ask`).  It is called in this process, for the
            first time when all running tasks have asked, and again whenever a task has ended.
        listener: called in this process with each text that a task tells; without it, no task may tell any.

    Raises:
        ValueError: `workers` is less than 1.
    """
    if workers < 1 and tasks:
        raise ValueError(f"{workers} workers cannot run anything")
    waiting = list(enumerate(tasks))[::-1]
    running: list[RunningChild] = []
    adopt_orphans()
    installed_places()  # found once here, not in every child
    earlier_children = children()
    counted_at, asked = time.monotonic(), False
    try:
        while waiting or running:
            while waiting and len(running) < workers:
                index, task = waiting.pop()
                asks = message_for is not None
                running.append(start_child(index, task, limits, asks=asks, listener=listener))
            asked = asked or all(child.asking for child in running)
            if message_for is not None and asked:
                _send_messages(running, message_for, limits)
            done = _wait(running, limits)
            if time.monotonic() - counted_at > TICK_S:
                done = _over_limits(running, limits) | done
                counted_at = time.monotonic()
            for child in done:
                running.remove(child)
                child.end()
            kill_orphans(earlier_children | {child.pid for child in running})
            yielded_at = time.monotonic()
            yield from ((child.index, outcome) for child, outcome in done.items())
            _postpone(running, time.monotonic() - yielded_at)
    finally:
        for child in running:
            child.end()
        kill_orphans(earlier_children)


def _send_messages(running: Sequence[RunningChild], message_for: MessageFor, limits: Limits) -> None:
    """Let the children that ask have their messages, as far as there are messages."""
    for child in running:
        if child.asking and (message := message_for(child.index)) is not None:
            child.answer(message, limits.wall_s)


def _postpone(running: Sequence[RunningChild], seconds: float) -> None:
    """Move deadlines by the time that the caller spent on earlier outcomes, when no pipe was read."""
    for child in running:
        child.deadline += seconds


def _wait(running: Sequence[RunningChild], limits: Limits) -> dict[RunningChild, Outcome]:
    """Wait until a descriptor is readable or a tick is over; return the children that are done."""
    with selectors.DefaultSelector() as selector:
        for child in running:
            for descriptor in child.open:
                selector.register(descriptor, selectors.EVENT_READ, child)
            if child.unsent:
                selector.register(child.inbox, selectors.EVENT_WRITE, child)
        nearest = min((child.deadline for child in running if not child.asking), default=math.inf) - time.monotonic()
        events = selector.select(max(0.0, min(TICK_S, nearest)))
    ready: dict[RunningChild, set[int]] = {child: set() for child in running}
    for key, _ in events:
        ready[key.data].add(key.fd)
        if key.fd == key.data.inbox:
            key.data.send()
    outcomes = {child: _outcome(child, ready[child], limits) for child in running}
    return {child: outcome for child, outcome in outcomes.items() if outcome is not None}


def _over_limits(running: Sequence[RunningChild], limits: Limits) -> dict[RunningChild, Outcome]:
    """Find the children with too many processes, too much memory, or too much in their scratch folders."""
    families = descendants([child.pid for child in running])
    reasons = {child: _excess(child, {child.pid, *families[child.pid]}, limits) for child in running}
    return {child: Died(reason, child.phase) for child, reason in reasons.items() if reason}


def _excess(child: RunningChild, family: set[int], limits: Limits) -> str:
    """Say what a child with its processes has too much of; empty when nothing."""
    if len(family) - 1 > limits.processes:
        return f"had more than {limits.processes} processes at a time, those of compilers included: start fewer"
    if exceeded := _exceeded(child, limits):
        return exceeded.reason
    most = limits.data_bytes
    limited = child.group is not None and child.group.holds(child.pid)
    if most is not None and not limited and resident(family) > most and memory_used(family) > most:
        return _too_much_memory(most)
    if is_fuller(child.scratch, limits.scratch_bytes, limits.scratch_files):
        return f"left more than {limits.scratch_bytes >> 20} MiB or {limits.scratch_files} files in its folder"
    return ""


def _exceeded(child: RunningChild, limits: Limits) -> Died | None:
    """Return the death of a child whose control group has reached its limit; None for any other."""
    if child.group is None or limits.data_bytes is None or not child.group.exceeded():
        return None
    return Died(_too_much_memory(limits.data_bytes), child.phase, child.tail.decode(errors="replace"))


def _too_much_memory(most: int) -> str:
    return f"used more than {most >> 20} MiB of memory, with all its processes"


def _outcome(child: RunningChild, ready: set[int], limits: Limits) -> Outcome | None:
    """Read the readable descriptors of one child; return its outcome, or None while it runs."""
    if child.output in ready:
        _drain_output(child, limits)
        if child.written > limits.written_bytes:
            return Died(f"wrote more than {limits.written_bytes >> 20} MiB of text", child.phase)
    try:
        if child.results in ready and (outcome := _read_frames(child, limits)) is not None:
            return outcome
        if child.process in ready:
            return _read_frames(child, limits) or _death(child, limits)
    except Malformed as error:
        return Died(str(error), child.phase)
    late = -math.inf if child.asking else time.monotonic() - child.deadline
    if late > GRACE_S or (late >= 0 and child.results not in ready):
        return TimedOut(child.phase, limits.wall_s)
    return None


def _read_frames(child: RunningChild, limits: Limits) -> Outcome | None:
    """Read everything in the result pipe; return the outcome, if the pipe held one."""
    while child.results in child.open:
        try:
            data = os.read(child.results, 1 << 20)
        except BlockingIOError:
            return None
        if not data:
            child.open.discard(child.results)
        for kind, payload in child.frames.feed(data):
            if kind == RETURNED:
                _drain_output(child, limits)
                if exceeded := _exceeded(child, limits):  # one of its processes was ended for it
                    return exceeded
                return Returned(payload, child.tail.decode(errors="replace"))
            if (outcome := _apply_frame(child, kind, payload)) is not None:
                return outcome
    return None


def _apply_frame(child: RunningChild, kind: bytes, payload: bytes) -> Raised | None:
    """Note in the child what a frame other than its result reports.

    Raises:
        Malformed: the payload cannot be read, or no such frame may come now.
    """
    try:
        if kind == RAISED:
            name, message, tail = map(str, json.loads(payload))
            return Raised(name, message, tail, child.phase)
        if kind == PHASE:
            if payload == START_PHASE.encode():
                raise Malformed("a frame reports the phase of the beginning again")
            child.phase = payload.decode()
            return None
        if kind == TOLD and child.listener is not None:
            child.told_bytes += len(payload)
            if child.told_bytes > TOLD_BYTES:
                raise Malformed(f"told more than {TOLD_BYTES >> 10} KiB")
            child.listener(child.index, payload.decode(errors="replace"))
            return None
        if kind == ASKED and child.inbox >= 0 and not child.unsent:
            child.asking = True
            return None
        if kind == STATUS:
            os.waitstatus_to_exitcode(int(payload))
            child.status = int(payload)
            return None
    except (ValueError, TypeError, OverflowError, RecursionError) as error:
        raise Malformed("a frame of the result pipe cannot be read") from error
    raise Malformed("a frame of unknown kind on the result pipe")


def _drain_output(child: RunningChild, limits: Limits) -> None:
    try:
        data = os.read(child.output, 1 << 20)
    except BlockingIOError:
        return
    if not data:
        child.open.discard(child.output)
    child.written += len(data)
    child.tail = (child.tail + data)[-limits.output_bytes :]


def _death(child: RunningChild, limits: Limits) -> Died:
    """Explain the end of a child that sent no result."""
    _drain_output(child, limits)
    if exceeded := _exceeded(child, limits):
        return exceeded
    code = _exit_code(child) if child.status is None else os.waitstatus_to_exitcode(child.status)
    reason = f"killed by {_signal_name(-code)}" if code < 0 else f"exited with status {code} without a result"
    return Died(reason, child.phase, child.tail.decode(errors="replace"))


def _signal_name(number: int) -> str:
    """Name a signal; most real-time signals have a number only."""
    names = {member.value: member.name for member in signal.Signals}
    return names.get(number, f"signal {number}")


def _exit_code(child: RunningChild) -> int:
    """Return the exit status, or minus the signal; the child stays unreaped, so that its pid is not used again."""
    ended = os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    assert ended is not None
    return ended.si_status if ended.si_code == os.CLD_EXITED else -ended.si_status
