"""Say in one line how far a search is, as often as it may cost."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from kopt.report.status_lines import live_line
from kopt.run.so_far import read_so_far
from kopt.run.status import left_s, status_of

SHARE = 0.05
"""Largest share of the time that reading a run's files may take."""


class Progress:
    """The line of one search, from its files alone."""

    def __init__(self, folder: Path, clock: Callable[[], float] = time.monotonic) -> None:
        """Read nothing yet.

        Args:
            folder: the run's folder.
            clock: seconds since some moment.
        """
        self._folder, self._clock = folder, clock
        self._text, self._due = "", 0.0
        self._first: tuple[float, int] | None = None  # time of the first look, and steps that were done then

    def __call__(self) -> str:
        """Return the line, read anew where that is due.

        Raises:
            KoptError: the folder holds no run, or a file is torn.
        """
        now = self._clock()
        if now < self._due:
            return self._text
        status = status_of(read_so_far(self._folder))
        self._text = live_line(status, self._left(now, status.steps_done, status.steps))
        self._due = now + (self._clock() - now) / SHARE
        return self._text

    def _left(self, now: float, done: int, steps: int) -> float | None:
        """Estimate the time that is left by the steps since the first look, s; None before enough is known."""
        if self._first is None:
            self._first = now, done
        since, before = self._first
        return left_s(now - since, done - before, steps - done)
