"""Keep what says the result of a search that has ended before, for a run in which nothing is to be done."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress

_lines: Callable[[], Sequence[str]] | None = None


def tell(lines: Callable[[], Sequence[str]]) -> None:
    """Let the logger end with these lines where nothing is to be done; the Snakefile calls it."""
    global _lines
    _lines = lines


def told() -> list[str]:
    """Return the lines; none where nobody has said what they are, or the run cannot be read."""
    if _lines is not None:
        with suppress(Exception):  # files that somebody removes or writes meanwhile
            return list(_lines())
    return []
