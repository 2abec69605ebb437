"""Find the descendants of a process in /proc, and kill them with it."""

from __future__ import annotations

import ctypes
import os
import select
import signal
from collections.abc import Collection, Sequence
from contextlib import suppress

MOST_ORPHANS = 100
"""Most searches for new orphans, which killing others may have left behind."""
_PR_SET_CHILD_SUBREAPER = 36


def descendants(roots: Sequence[int]) -> dict[int, set[int]]:
    """Find the pids of each root's descendants, the root left out."""
    children: dict[int, list[int]] = {}
    for pid, parent in _parents().items():
        children.setdefault(parent, []).append(pid)
    return {root: _below(root, children) for root in roots}


def kill_all(root: int) -> None:
    """Kill a process, the process group that it leads, if any, and every descendant, by SIGKILL."""
    family = descendants([root])[root]
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(root, signal.SIGKILL)
    for pid in (root, *family):
        with suppress(ProcessLookupError, PermissionError):
            os.kill(pid, signal.SIGKILL)


def wait_for_end(pidfd: int, seconds: float) -> bool:
    """Wait for the end of a child, and leave it to be reaped; return whether it has ended in time.

    As long as a child is not reaped its pid is no other process's, so that `kill_all` kills what the child has left.
    """
    poll = select.poll()
    poll.register(pidfd, select.POLLIN)
    return bool(poll.poll(seconds * 1000))


def kill_unreaped(pid: int, pidfd: int) -> None:
    """Kill a child and all that it has started, as `kill_all` does, unless it is reaped: its pid may be another's."""
    with suppress(ChildProcessError):
        os.waitid(os.P_PIDFD, pidfd, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        kill_all(pid)


def adopt_orphans() -> None:
    """Make this process the parent of orphaned descendants (`PR_SET_CHILD_SUBREAPER`)."""
    ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def children() -> set[int]:
    """Find the pids of this process's children, those that have ended and are not reaped among them.

    The kernel's lists of each thread's children are read until two readings agree, since a thread that ends meanwhile
    leaves its children to another one.  A search through all processes, for a kernel that keeps no such lists, takes
    milliseconds on a busy machine.
    """
    try:
        before, now = None, _children_of_threads()
        while now != before:
            before, now = now, _children_of_threads()
        return now
    except FileNotFoundError:
        return {pid for pid, parent in _parents().items() if parent == os.getpid()}


def _children_of_threads() -> set[int]:
    threads = os.listdir("/proc/self/task")
    return set[int]().union(*(_listed(f"/proc/self/task/{thread}/children") for thread in threads))


def _listed(path: str) -> list[int]:
    with open(path, "rb") as file:
        return [int(pid) for pid in file.read().split()]


def kill_orphans(spared: Collection[int]) -> None:
    """Kill and reap every child of this process, with its descendants, but the spared ones."""
    for _ in range(MOST_ORPHANS):
        orphans = children() - set(spared)
        if not orphans:
            return
        for pid in orphans:
            kill_all(pid)
            with suppress(ChildProcessError):
                os.waitpid(pid, 0)


def _below(root: int, children: dict[int, list[int]]) -> set[int]:
    descendant_pids: set[int] = set()
    pending = list(children.get(root, ()))
    while pending:
        pid = pending.pop()
        if pid not in descendant_pids:
            descendant_pids.add(pid)
            pending += children.get(pid, ())
    return descendant_pids


def _parents() -> dict[int, int]:
    """Read the parent of every process."""
    parents = {}
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            with suppress(OSError, IndexError):
                parents[int(entry)] = int(_start_of(f"/proc/{entry}/stat").rpartition(b")")[2].split(None, 2)[1])
    return parents


def _start_of(path: str) -> bytes:
    """Read the first 4 KiB of a file; every process has one, and `Path.read_bytes` takes half as long again."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        return os.read(descriptor, 4096)
    finally:
        os.close(descriptor)
