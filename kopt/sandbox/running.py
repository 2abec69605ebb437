"""Start a caged child, send it its message, and end it: a running child as its parent sees it."""

from __future__ import annotations

import os
import secrets
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from kopt.sandbox.cage import Limits
from kopt.sandbox.child import Task, live
from kopt.sandbox.group import MemoryGroup, memory_group
from kopt.sandbox.pipe import NONCE_BYTES, Frames, Report, framed
from kopt.sandbox.processes import kill_all
from kopt.sandbox.remove import remove_folder

START_PHASE = "start"
"""Phase of a task until it reports another one."""

Listener = Callable[[int, str], None]
"""Takes the index of a task, and a text that the task tells while it runs."""


@dataclass(eq=False)
class RunningChild:
    """A running child, seen from its parent."""

    index: int
    """Position of its task."""
    pid: int
    results: int
    """File descriptor that its frames are read from."""
    output: int
    """File descriptor that its stdout and stderr are read from."""
    process: int
    """pidfd; readable once the child has ended."""
    scratch: Path
    deadline: float
    """Monotonic time at which it is killed, s."""
    frames: Frames
    group: MemoryGroup | None
    """The control group of its memory; None where none is permitted.  A child that could not enter it is watched."""
    open: set[int]
    """Descriptors that are still watched."""
    phase: str = START_PHASE
    tail: bytearray = field(default_factory=bytearray)
    """The end of its stdout and stderr."""
    written: int = 0
    """Bytes that it wrote to stdout and stderr."""
    status: int | None = None
    """Wait status of the task, where the namespace's init reported it."""
    inbox: int = -1
    """File descriptor that its message is written to; -1 if it may not ask, or was answered."""
    unsent: bytes | memoryview = b""
    """What of its message is still to be written, as far as it reads."""
    asking: bool = False
    """Whether the child waits for a message."""
    listener: Listener | None = None
    """Called with what the child tells; None: it may tell nothing."""
    told_bytes: int = 0
    """Bytes that it told while it ran."""

    def answer(self, message: bytes, wall_s: float) -> None:
        """Let the child have its message, and its time begin anew."""
        self.unsent, self.asking = memoryview(framed(message)), False
        self.deadline = time.monotonic() + wall_s

    def send(self) -> None:
        """Write what the child's inbox has room for of its message, and close the inbox after all of it."""
        with suppress(BlockingIOError):
            try:
                self.unsent = self.unsent[os.write(self.inbox, self.unsent) :]
            except BrokenPipeError:  # the child has died
                self.unsent = b""
        if not self.unsent:
            os.close(self.inbox)
            self.inbox = -1

    def end(self) -> None:
        """Kill the child with its descendants, reap it and remove its scratch folder."""
        kill_all(self.pid)
        with suppress(ChildProcessError):
            os.waitpid(self.pid, 0)
        for descriptor in (self.results, self.output, self.process, *([self.inbox] if self.inbox >= 0 else [])):
            os.close(descriptor)
        if self.group is not None:
            self.group.remove()
        remove_folder(self.scratch)


def start_child(
    index: int, task: Task, limits: Limits, *, asks: bool, listener: Listener | None = None
) -> RunningChild:
    """Fork a caged child for a task.

    Args:
        index: position of the task.
        task: the task.
        limits: limits of the child.
        asks: whether the child may ask for a message.
        listener: called with what the child tells; None: it may tell nothing.
    """
    nonce = secrets.token_bytes(NONCE_BYTES)
    inbox_end, inbox = os.pipe() if asks else (-1, -1)
    scratch = Path(tempfile.mkdtemp(prefix="kopt-")).resolve()
    group = memory_group(limits.data_bytes) if limits.data_bytes is not None else None
    (results, results_end), (output, output_end) = os.pipe(), os.pipe()
    parent = os.getpid()
    sys.stdout.flush()
    sys.stderr.flush()
    pid = os.fork()
    if pid == 0:
        os.close(results)
        os.close(output)
        if group is not None:
            group.enter()
        live(task, Report(results_end, nonce, inbox_end), parent, output_end, scratch, limits)
    for descriptor in (results_end, output_end, *([inbox_end] if asks else [])):
        os.close(descriptor)
    os.set_blocking(results, False)
    os.set_blocking(output, False)
    if asks:
        os.set_blocking(inbox, False)
    process = os.pidfd_open(pid)
    deadline = time.monotonic() + limits.wall_s
    frames = Frames(nonce, limits.result_bytes)
    watched = {results, output, process}
    return RunningChild(
        index, pid, results, output, process, scratch, deadline, frames, group, watched, inbox=inbox, listener=listener
    )  # fmt: skip
