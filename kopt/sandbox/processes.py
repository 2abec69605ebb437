"""Who descends from whom, read from /proc, and killing all of it."""

from __future__ import annotations

import ctypes
import os
import signal
from collections.abc import Collection, Sequence
from contextlib import suppress
from pathlib import Path

MOST_ORPHANS = 100
"""How often orphans are looked for, each time below those that were killed."""
_PR_SET_CHILD_SUBREAPER = 36


def descendants(roots: Sequence[int]) -> dict[int, set[int]]:
    """Pids of each root's descendants, the root left out."""
    children: dict[int, list[int]] = {}
    for pid, parent in _parents().items():
        children.setdefault(parent, []).append(pid)
    return {root: _below(root, children) for root in roots}


def kill_all(root: int) -> None:
    """SIGKILL for a process, the group that it leads, if it does, and every descendant."""
    family = descendants([root])[root]
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(root, signal.SIGKILL)
    for pid in (root, *family):
        with suppress(ProcessLookupError, PermissionError):
            os.kill(pid, signal.SIGKILL)


def adopt_orphans() -> None:
    """Become the parent of whatever a descendant of this process leaves behind (`PR_SET_CHILD_SUBREAPER`)."""
    ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def children() -> set[int]:
    """Pids of this process's children."""
    return {pid for pid, parent in _parents().items() if parent == os.getpid()}


def kill_orphans(known: Collection[int]) -> None:
    """Kill and reap every child of this process, with all below it, that is not among the known ones."""
    for _ in range(MOST_ORPHANS):
        orphans = children() - set(known)
        if not orphans:
            return
        for pid in orphans:
            kill_all(pid)
            with suppress(ChildProcessError):
                os.waitpid(pid, 0)


def _below(root: int, children: dict[int, list[int]]) -> set[int]:
    found: set[int] = set()
    pending = list(children.get(root, ()))
    while pending:
        pid = pending.pop()
        if pid not in found:
            found.add(pid)
            pending += children.get(pid, ())
    return found


def _parents() -> dict[int, int]:
    parents = {}
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            with suppress(OSError, IndexError):
                parents[int(entry)] = int(Path("/proc", entry, "stat").read_bytes().rpartition(b")")[2].split()[1])
    return parents
