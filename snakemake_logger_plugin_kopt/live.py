"""Keep one line at the end of a terminal that says how far a search is; every other line is written above it.

The line ends with a carriage return, so that what a job writes begins at the line's start; jobs erase the line first
(`kopt.jobs.command`).
"""

from __future__ import annotations

import os
import shutil
import sys
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import TextIO

from kopt.neutral import ERASE, one_line

EVERY_S = 1.0
"""Time between two looks at the search, s."""


class LiveLine:
    """The line, kept by a thread of its own until `end`."""

    def __init__(self, text: Callable[[], str], stream: TextIO, every_s: float = EVERY_S) -> None:
        """Begin to keep the line.

        Args:
            text: says how far the search is; what it raises leaves the line as it was.
            stream: a terminal.
            every_s: time between two looks, s.
        """
        self._text, self._stream, self._every_s = text, stream, every_s
        self._lock, self._ended = threading.Lock(), threading.Event()
        self._thread = threading.Thread(target=self._keep, name="live line", daemon=True)
        self._thread.start()

    def write(self, lines: str) -> None:
        """Write lines above the line."""
        with self._lock:
            self._stream.write(f"{ERASE}{lines}")
            self._stream.flush()

    def end(self) -> None:
        """Erase the line for good."""
        if not self._ended.is_set():
            self._ended.set()
            self.write("")

    def _keep(self) -> None:
        while not self._ended.wait(self._every_s):
            with suppress(Exception):  # a file that is being written, a terminal that is gone
                text = one_line(self._text(), max(shutil.get_terminal_size().columns - 1, 20))
                with self._lock:
                    if text and not self._ended.is_set():
                        self._stream.write(f"{ERASE}{text}\r")
                        self._stream.flush()


_text: Callable[[], str] | None = None


def follow(text: Callable[[], str]) -> None:
    """Let the logger keep a line with this text; the Snakefile calls it when a search starts."""
    global _text
    _text = text


def begun(stream: TextIO = sys.stderr, variables: Mapping[str, str] = os.environ) -> LiveLine | None:
    """Begin the line where a search has started in a terminal that can show it; None elsewhere."""
    if _text is None or not stream.isatty() or variables.get("TERM", "dumb") == "dumb":
        return None
    return LiveLine(_text, stream)
