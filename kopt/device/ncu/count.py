"""Read hardware counters of kernels by Nsight Compute (`ncu`), one kernel after the other.

Only the last call of the entry point is profiled, with all its launches; launches of compilation and autotuning before
are left out.  Clocks are not locked.  A machine without `ncu`, or without the right to read counters (common), is an
outcome and not an error: static facts take the place of the counters.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType

from kopt.device.ncu.job import POLL_S, ProfileJob
from kopt.device.ncu.outcome import Counted, NotCounted
from kopt.device.ncu.run import Run, find_ncu

WAIT_S = 180.0
"""Longest run of Nsight Compute, s; 10-16 s are usual."""
READY_S = 60.0
"""Longest wait for a program to be ready, s: one that takes longer gets its turn without."""
AHEAD = 2
"""Programs that have started and not ended, at most."""


def count(job: ProfileJob, *, ncu: Path | None = None, wait_s: float = WAIT_S) -> Counted | NotCounted:
    """Profile one call of a kernel on the visible GPU, which no other process should use meanwhile.

    Args:
        job: kernel, problem, workload.
        ncu: the program; by default that of `find_ncu`.
        wait_s: limit, s.
    """
    with Counting([job], ncu=ncu) as counting:
        (counted,) = counting.each(wait_s)
    return counted


class Counting:
    """Profile one call of each kernel like `count`, one kernel after the other; a context manager.

    A program takes longer to start than to profile, and does not use a GPU before its turn.  So the first programs
    start as the block is entered, before a GPU need be held, and the next ones while others are profiled.
    """

    def __init__(self, jobs: Sequence[ProfileJob], *, ncu: Path | None = None) -> None:
        """Take the jobs.

        Args:
            jobs: kernels, problems, workloads.
            ncu: the program; by default that of `find_ncu`.
        """
        self._waiting = list(jobs)
        self._ncu = ncu or find_ncu()
        self._runs: deque[Run] = deque()
        self._started = ExitStack()

    def __enter__(self) -> Counting:
        try:
            self._start(AHEAD)
        except BaseException:
            self._started.close()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self._started.close()

    def wait(self) -> None:
        """Wait until the programs that have started need a GPU to go on, or have ended, so that none is held before."""
        _wait_until(lambda: all(run.is_ready() for run in self._runs), READY_S)

    def prepare(self, wait_s: float = WAIT_S) -> None:
        """Let the programs that are ready make contexts and inputs on the GPU that this process sees, side by side.

        Nothing is counted meanwhile, no candidate's code runs, and then all wait for their turns.

        Args:
            wait_s: limit, s.
        """
        ready = [run for run in self._runs if run.is_ready()]
        for run in ready:
            run.lend()
        _wait_until(lambda: all(run.is_prepared() for run in ready), wait_s)

    def each(self, wait_s: float = WAIT_S) -> Iterator[Counted | NotCounted]:
        """Yield the outcomes in order, while no other process should use the GPU that this process sees.

        Args:
            wait_s: limit of each, s.
        """
        if self._ncu is None:
            yield from [NotCounted(cause="no ncu")] * len(self._waiting)
        while self._runs:
            run = self._runs.popleft()
            self._start(AHEAD - 1)
            yield run.counted(wait_s)

    def _start(self, most: int) -> None:
        """Start programs, until so many wait for their turn."""
        while self._ncu is not None and self._waiting and len(self._runs) < most:
            self._runs.append(self._started.enter_context(Run(self._waiting.pop(0), self._ncu)))


def _wait_until(is_so: Callable[[], bool], wait_s: float) -> None:
    until = time.monotonic() + wait_s
    while not is_so() and time.monotonic() < until:
        time.sleep(POLL_S)
