"""End the parents that are idle at the end of a run, and forget those that were killed or that answer nobody."""

from __future__ import annotations

import os
import signal
import time
from contextlib import closing, suppress

from kopt.warm import place, wire
from kopt.warm.connect import WAIT_S, connect
from kopt.warm.place import Odd

ENDS = 20
"""How often a parent is looked at that has jobs at the end of a run, every 50 ms."""


def retire_silent(folder: str, name: str) -> None:
    """Let the next job start another parent in place of one that still does not answer so long after its start."""
    if time.time() - os.stat(place.socket_path(folder, name, "light")).st_mtime >= 2 * WAIT_S:
        place.remove_files(folder, name)


def end_idle_parents() -> None:
    """End the parents of this checkout and Slurm job that have no job, at the end of a run or of a submitted job.

    Files of parents that were killed are removed.  None of it is needed for correctness.
    """
    with suppress(OSError, Odd):
        folder = place.private_folder()
        for name in {file.partition(".")[0] for file in os.listdir(folder)}:
            with suppress(OSError, ValueError):
                _end_idle(folder, name)


def _end_idle(folder: str, name: str) -> None:
    from kopt.sandbox.processes import descendants

    pid, root, job = _noted(folder, name)
    if _living(pid) != place.PARENT:
        return _forget_killed(folder, name)
    if (root, job) != (place.ROOT, os.environ.get("SLURM_JOB_ID", "")):
        return None
    for _ in range(ENDS):
        working = any(_is_keeper(child) for child in descendants([pid])[pid])
        if not working:
            break
        time.sleep(0.05)  # a keeper ends a moment after its job
    with closing(connect(folder, name, "light")) as connection:
        if not working and wire.peer(connection)[0] == pid:
            os.kill(pid, signal.SIGTERM)
    return None


def _noted(folder: str, name: str) -> tuple[int, str, str]:
    """Return a parent's pid, checkout and Slurm job; pid 0 where it has left no whole note."""
    try:
        with open(place.note_path(folder, name), encoding="utf-8", errors="surrogateescape") as file:
            pid, root, job = file.read().split("\n")
        return int(pid), root, job
    except (FileNotFoundError, ValueError):
        return 0, "", ""


def _forget_killed(folder: str, name: str) -> None:
    """Remove the files of a parent that was killed, as Slurm kills what a job leaves; nobody listens there."""
    try:
        connect(folder, name, "light").close()
    except (ConnectionRefusedError, FileNotFoundError):
        place.remove_files(folder, name)


def _is_keeper(pid: int) -> bool:
    return _living(pid) == place.KEEPER


def _living(pid: int) -> str:
    """Return the name of a process; empty for one that has ended, which may still be listed."""
    try:
        with open(f"/proc/{pid}/stat") as file:
            comm, _, rest = file.read().partition("(")[2].rpartition(") ")
    except OSError:
        return ""
    return "" if rest.startswith("Z") else comm
