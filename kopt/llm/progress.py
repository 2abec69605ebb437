"""Show how far a round of requests is: a bar on a terminal, a line now and then in a log."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import TextIO

from kopt.model.base import Value


class Progress(Value):
    """How far a round of requests is; counts of labels."""

    total: int
    reused: int = 0
    answered: int = 0
    other: int = 0
    """Truncated, refused or empty."""
    unanswered: int = 0
    retries: int = 0
    """Calls that failed and were, or will be, tried again."""
    dollars: float = 0.0
    """Spent by this round so far, US dollars."""

    @property
    def done(self) -> int:
        """Return the number of labels that have their outcome."""
        return self.reused + self.answered + self.other + self.unanswered


OnProgress = Callable[[Progress], None]

WIDTH = 24
"""Characters of the bar itself."""

CLEAR_REST = "\x1b[K"
"""Clears the rest of a terminal's line."""


def progress_shown(stream: TextIO) -> AbstractContextManager[OnProgress]:
    """Make a callback that shows progress on a stream: a bar on a terminal, else lines."""
    return progress_bar(stream) if stream.isatty() else progress_line(lambda line: print(line, file=stream, flush=True))


@contextmanager
def progress_line(write: Callable[[str], object], every_seconds: float = 1.0) -> Iterator[OnProgress]:
    """Make a callback that writes a line on progress, at most one in `every_seconds`, and the last one at the end."""
    with _now_and_then(lambda progress: write(describe(progress)), every_seconds) as on_progress:
        yield on_progress


@contextmanager
def progress_bar(stream: TextIO, every_seconds: float = 0.1) -> Iterator[OnProgress]:
    """Make a callback that draws a bar over a terminal's line, at most once in `every_seconds`; the last stays."""
    drawn = False
    start = time.monotonic()

    def draw(progress: Progress) -> None:
        nonlocal drawn
        drawn = True
        stream.write(
            f"\r{bar(progress, time.monotonic() - start)[: shutil.get_terminal_size().columns - 1]}{CLEAR_REST}"
        )
        stream.flush()

    try:
        with _now_and_then(draw, every_seconds) as on_progress:
            yield on_progress
    finally:
        if drawn:
            stream.write("\n")


@contextmanager
def _now_and_then(show: Callable[[Progress], object], every_seconds: float) -> Iterator[OnProgress]:
    """Make a callback that shows progress at most once in `every_seconds`, and the last progress at the end."""
    last: Progress | None = None
    shown: Progress | None = None
    since = time.monotonic()

    def on_progress(progress: Progress) -> None:
        nonlocal last, shown, since
        last = progress
        if time.monotonic() - since >= every_seconds:
            since = time.monotonic()
            shown = progress
            show(progress)

    yield on_progress
    if last is not None and last != shown:
        show(last)


def bar(progress: Progress, seconds: float) -> str:
    """Draw progress after `seconds` as a bar; counts that are out of the ordinary stand behind it."""
    full = WIDTH * progress.done // max(progress.total, 1)
    counts = {"unusable": progress.other, "missing": progress.unanswered, "retries": progress.retries}
    words = "".join(f", {count} {name}" for name, count in counts.items() if count)
    counted = f"{progress.done}/{progress.total} replies, ${progress.dollars:.2f}, {seconds:.0f} s"
    return f"[{'#' * full}{'.' * (WIDTH - full)}] {counted}{words}"


def describe(progress: Progress) -> str:
    """Describe progress in one line."""
    return (
        f"replies {progress.done}/{progress.total}: {progress.answered} answered, {progress.reused} known, "
        f"{progress.other} unusable, {progress.unanswered} missing, {progress.retries} retries, ${progress.dollars:.2f}"
    )
