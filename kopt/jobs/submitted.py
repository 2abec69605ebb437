"""Serve jobs that run on other machines than the search that submitted them.

A line that such a job prints would end in the log of a scheduler.  The job writes it as a file of its own into the
run's folder `terminal` too, where the search finds it, prints it and removes it: shared file systems order neither
appends of several machines nor need a port be open.
"""

from __future__ import annotations

import atexit
import io
import itertools
import os
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterable, Mapping, Set
from contextlib import suppress
from pathlib import Path
from typing import TextIO

from kopt.artifact import write_text

CORES = 8
"""Cores of a submitted job that builds kernels or judges them, unless a profile says otherwise."""
LONG_S = 600.0
"""Limit of one step that compiles with PyTorch's autotuning, s."""

FOLDER = "terminal"
"""Folder of a run in which submitted jobs leave their lines."""
VARIABLE = "KOPT_TERMINAL"
"""Environment variable that names this folder to the scripts of a submitted job."""
SUFFIX = ".line"
POLL_S = 0.5
CANCEL_S = 120.0
"""Longest wait for cancelled jobs to end, s."""

_count = itertools.count()


class Lines(io.TextIOBase):
    """A stream that passes everything on, and leaves each whole line in a folder."""

    def __init__(self, stream: TextIO, folder: Path) -> None:
        self._stream, self._folder, self._begun = stream, folder, ""

    def write(self, text: str) -> int:
        """Write text; returns its length."""
        *lines, self._begun = (self._begun + text).split("\n")
        for line in lines:
            leave(self._folder, line)
        return self._stream.write(text)

    def flush(self) -> None:
        """Flush the stream beneath."""
        self._stream.flush()


def leave_lines(variables: Mapping[str, str] = os.environ) -> None:
    """Leave the lines that this process prints from now on for its search, if a search submitted it."""
    if folder := variables.get(VARIABLE):
        sys.stdout, sys.stderr = (Lines(stream, Path(folder)) for stream in (sys.stdout, sys.stderr))


def leave(folder: Path, line: str) -> None:
    """Leave a line for the search; a folder that cannot be written loses the line, and no job for it."""
    if line.strip():
        with suppress(OSError):
            name = f"{time.time_ns():020}-{socket.gethostname()}-{os.getpid()}-{next(_count)}"
            write_text(folder / f"{name}{SUFFIX}", line + "\n")


def follow(folder: Path, stream: TextIO = sys.stderr) -> threading.Event:
    """Print lines that jobs leave in the folder, from now to the end of this process; setting the event ends it."""
    ended = threading.Event()

    def watch() -> None:
        while not ended.wait(POLL_S):
            show(folder, stream)

    threading.Thread(target=watch, name="lines of jobs", daemon=True).start()
    atexit.register(show, folder, stream)
    return ended


def show(folder: Path, stream: TextIO) -> None:
    """Print the lines that lie in a folder, in the order in which they were left, and remove them."""
    for path in sorted(folder.glob(f"*{SUFFIX}")):
        with suppress(OSError):  # another machine's view of a folder may be late
            text = path.read_text(errors="replace")
            path.unlink()
            print(text, end="", file=stream, flush=True)


def cancel_left(jobs: Iterable[str], folder: Path) -> None:
    """Cancel the jobs in Slurm that an earlier start of the run left when it was killed, and wait for their end.

    They would write the same files as the jobs of this start.  What they have finished is in the store.

    Args:
        jobs: numbers of the jobs that the earlier start submitted and did not see end; array tasks as `7_1`.
        folder: folder in which the search was started; the jobs work in it too.
    """
    if not (left := _living(set(jobs), folder)):
        return
    note = f"cancelling {len(left)} job{'s' if left[1:] else ''} that an earlier start of this run left"
    print(f"kopt: note: {note}: {', '.join(left)}", file=sys.stderr, flush=True)
    subprocess.run(["scancel", *left], check=False, capture_output=True)
    until = time.monotonic() + CANCEL_S
    while _living(set(left), folder) and time.monotonic() < until:
        time.sleep(POLL_S)


def _living(jobs: Set[str], folder: Path) -> list[str]:
    """List those of this user's jobs in a working directory that have not ended; none where there is no Slurm."""
    if not jobs or not shutil.which("squeue"):
        return []
    command = ["squeue", "--me", "--noheader", "--array", "--format=%i|%Z"]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    rows = (line.split("|", 1) for line in done.stdout.splitlines() if "|" in line)
    return sorted(job for job, place in rows if job in jobs and Path(place).resolve() == folder.resolve())
