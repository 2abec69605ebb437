"""End the parents that are idle at the end of a run, and forget those that were killed or that answer nobody."""

from __future__ import annotations

import os
import signal
import sys
import time
from contextlib import suppress

from kopt.warm import place, wire
from kopt.warm.connect import WAIT_S, connect
from kopt.warm.place import Odd

ENDS = 20
"""How often a parent is looked at that has jobs at the end of a run, every 50 ms."""


def retire_silent(folder: str, name: str) -> None:
    """Let the next job start another parent in place of one that still does not answer so long after its start."""
    if time.time() - os.stat(place.socket_path(folder, name, "light")).st_mtime >= 2 * WAIT_S:
        place.remove_files(folder, name)


STAYS = "KOPT_WARM_STAYS"
"""Variable that a comparison sets for its searches, which leave their parents to the next one."""


def end_parents_of_run() -> None:
    """End the idle parents at the end of a run; a search of a comparison leaves this to the comparison."""
    if not os.environ.get(STAYS):
        end_idle_parents()


def end_idle_parents() -> None:
    """End the parents of this checkout and Slurm job that have no job, at the end of a run or of a submitted job.

    Files of parents that were killed are removed, and a parent that has failed is told: jobs started by themselves, and
    nothing else says so.  None of it is needed for correctness.
    """
    with suppress(OSError, Odd):
        folder = place.private_folder()
        for name in {file.partition(".")[0] for file in os.listdir(folder)}:
            with suppress(OSError, ValueError):
                _end_idle(folder, name)


def _end_idle(folder: str, name: str) -> None:
    pid, root, job = _noted(folder, name)
    ours = (root, job) == (place.ROOT, os.environ.get("SLURM_JOB_ID", ""))
    if ours:
        with suppress(OSError):
            _tell_failure(folder, name)
    elif _comm(pid) == place.PARENT:
        return
    works = ours and _works(pid)
    try:
        connection = connect(folder, name, "light")
    except (ConnectionRefusedError, FileNotFoundError):  # it was killed, as Slurm kills what a job leaves
        place.remove_files(folder, name)
        return
    with connection:
        if ours and not works and wire.peer(connection)[0] == pid:
            os.kill(pid, signal.SIGTERM)


def _works(pid: int) -> bool:
    """Return whether a parent has a job, and still has one after a moment: a keeper ends just after its job."""
    from kopt.sandbox.processes import descendants

    for _ in range(ENDS):
        if not any(_comm(child) == place.KEEPER for child in descendants([pid])[pid]):
            return False
        time.sleep(0.05)
    return True


def _noted(folder: str, name: str) -> tuple[int, str, str]:
    """Return a parent's pid, checkout and Slurm job; pid 0 where it has left no whole note."""
    try:
        with open(place.note_path(folder, name), encoding="utf-8", errors="surrogateescape") as file:
            pid, root, job = file.read().split("\n")
        return int(pid), root, job
    except (FileNotFoundError, ValueError):
        return 0, "", ""


def _tell_failure(folder: str, name: str) -> None:
    """Print the error of a parent that has failed, light or heavy."""
    from kopt.neutral import one_line

    with open(place.log_path(folder, name), errors="replace") as file:
        lines = [line.rstrip() for line in file if line.strip()]
    if any(line.startswith("Traceback ") for line in lines):
        note = f"a warm parent failed, so that jobs started by themselves: {one_line(lines[-1])}"
        print(f"kopt: note: {note}", file=sys.stderr)


def _comm(pid: int) -> str:
    """Return the name of a process; empty for one that has ended, which may still be listed."""
    try:
        with open(f"/proc/{pid}/stat") as file:
            comm, _, rest = file.read().partition("(")[2].rpartition(") ")
    except OSError:
        return ""
    return "" if rest.startswith("Z") else comm
