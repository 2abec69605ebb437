"""Write foreign text so that it shows what it holds and does nothing else to a terminal, a log or a page.

Foreign is every text that kopt did not write: a candidate's source and messages, a server's replies and errors, the
content and the names of files.  All of it leaves kopt through `visible`: commands print through `neutral_output`, jobs
log through `NeutralFormatter`, the report and the logger of Snakemake call `visible` themselves.
"""

from __future__ import annotations

import logging
import re
import sys
import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TextIO, cast

_TERMINAL_SEQUENCE = re.compile(r"(?:\x1b\[|\x9b)[0-?]*[ -/]*[@-~]")


def visible(text: str) -> str:
    """Write a text so that a terminal, a page and a prompt show what it holds, and do nothing else.

    Sequences that move a terminal's cursor or change its colours are left out.  Other characters that nobody sees
    (control characters, marks that turn the direction of a text, half characters) are written as Python writes them:
    `\\x07`.
    """
    text = re.sub(r"\r+\n", "\n", _TERMINAL_SEQUENCE.sub("", text))
    return text if text.isprintable() else "".join(map(_visible, text))


def one_line(text: str, most: int = 1000) -> str:
    """Write a text on one line of at most `most` characters, as `visible` does."""
    line = visible(" ".join(text[: 100 * most].split()))
    return line if len(line) <= most else f"{line[: most - 4]} ..."


def _visible(char: str) -> str:
    if char.isprintable() or char in "\n\t":
        return char
    return " " if unicodedata.category(char) == "Zs" else char.encode("unicode_escape").decode()


ERASE = "\r\x1b[K"
"""Characters by which a terminal erases the line that the cursor is on."""


class LineStream:
    """A terminal's stream that erases what stands on a line before it writes there, as the line of a running search."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._begins = True

    def write(self, text: str) -> int:
        """Write a text; return the number of characters taken."""
        if text:
            self._stream.write(f"{ERASE if self._begins else ''}{text}")
            self._begins = text.endswith("\n")
        return len(text)

    def __getattr__(self, name: str) -> object:
        return getattr(self._stream, name)


def over_the_live_line(stream: TextIO) -> TextIO:
    """Return a stream that writes over the line that a search keeps at the end of a terminal."""
    return cast(TextIO, LineStream(stream)) if stream.isatty() else stream


class NeutralFormatter(logging.Formatter):
    """Format a record of a log by `visible`, its traceback included."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the record's text."""
        return visible(super().format(record))


class NeutralStream:
    """A stream of text that writes everything by `visible`."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        """Write a text; return the number of characters taken."""
        self._stream.write(visible(text))
        return len(text)

    def __getattr__(self, name: str) -> object:
        return getattr(self._stream, name)


@contextmanager
def neutral_output() -> Iterator[None]:
    """Write what is printed inside the block, to stdout and stderr, by `visible`."""
    before = sys.stdout, sys.stderr
    sys.stdout, sys.stderr = NeutralStream(sys.stdout), NeutralStream(sys.stderr)
    try:
        yield
    finally:
        sys.stdout, sys.stderr = before
