"""Limit the memory of a child with all its processes, of every kind, by a control group where one is permitted.

A group counts private, shared and file memory alike, and the operating system ends the group at its limit.  Where this
user may make no group, `kopt.sandbox.pool` counts memory itself now and then.
Source: Documentation/admin-guide/cgroup-v2.rst and cgroup-v1/memory.rst of the Linux kernel.
"""

from __future__ import annotations

import os
import re
import secrets
import time
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path

ROOT = Path("/sys/fs/cgroup")
REMOVE_TRIES, REMOVE_WAIT_S = 150, 0.02
"""How often, and how far apart in seconds, the removal of a group is tried: its processes take a moment to go."""


@dataclass(frozen=True)
class MemoryGroup:
    """A control group with a limit of memory."""

    folder: Path
    version: int

    def enter(self) -> None:
        """Move this process into the group; its children follow."""
        with suppress(OSError):
            (self.folder / "cgroup.procs").write_text("0")

    def holds(self, pid: int) -> bool:
        """Return whether a process is in the group, so that the group limits its memory."""
        with suppress(OSError):
            return str(pid) in (self.folder / "cgroup.procs").read_text().split()
        return False

    def exceeded(self) -> bool:
        """Return whether the operating system ended a process of the group at its limit."""
        name, field = ("memory.events", "oom_kill") if self.version == 2 else ("memory.oom_control", "oom_kill")
        with suppress(OSError):
            match = re.search(rf"^{field} (\d+)", (self.folder / name).read_text(), re.MULTILINE)
            return bool(match and int(match[1]))
        return False

    def remove(self) -> None:
        """Remove the group, all of whose processes have been killed."""
        for _ in range(REMOVE_TRIES):
            try:
                self.folder.rmdir()
            except FileNotFoundError:
                return
            except OSError:
                time.sleep(REMOVE_WAIT_S)
            else:
                return


def memory_group(limit: int) -> MemoryGroup | None:
    """Make a group whose processes may use so many bytes of memory together; None where none is permitted."""
    found = _parent()
    if found is None:
        return None
    parent, version = found
    group = MemoryGroup(parent / f"kopt-{os.getpid()}-{secrets.token_hex(4)}", version)
    try:
        group.folder.mkdir()
        if version == 2:
            (group.folder / "memory.max").write_text(str(limit))
            with suppress(OSError):
                (group.folder / "memory.swap.max").write_text("0")
        else:
            (group.folder / "memory.limit_in_bytes").write_text(str(limit))
            with suppress(OSError):
                (group.folder / "memory.memsw.limit_in_bytes").write_text(str(limit))
    except OSError:
        group.remove()
        return None
    return group


@cache
def _parent() -> tuple[Path, int] | None:
    """Find the folder below which this process may make groups that limit memory, and the version of its interface.

    Empty groups of processes that were killed are removed there.
    """
    found = _permitted()
    if found is not None:
        for group in found[0].glob("kopt-*"):
            pid = group.name.split("-")[1]
            with suppress(OSError):  # it is not empty
                if not Path("/proc", pid).exists():
                    group.rmdir()
    return found


def _permitted() -> tuple[Path, int] | None:
    with suppress(OSError):
        for line in Path("/proc/self/cgroup").read_text().splitlines():
            _, controllers, path = line.split(":", 2)
            if controllers == "memory":
                folder = ROOT / "memory" / path.lstrip("/")
                if os.access(folder, os.W_OK) and (folder / "memory.limit_in_bytes").exists():
                    return folder, 1
            if not controllers:
                folder = ROOT / path.lstrip("/")
                with suppress(OSError):
                    if os.access(folder, os.W_OK) and "memory" in (folder / "cgroup.subtree_control").read_text():
                        return folder, 2
    return None


def groups_permitted() -> bool:
    """Return whether this process may limit memory by groups; tries it."""
    group = memory_group(1 << 30)
    if group is not None:
        group.remove()
    return group is not None
