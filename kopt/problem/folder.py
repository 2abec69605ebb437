"""Where problems lie: finding a problem's folder and reading it in the format that it is in."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from kopt.errors import ProblemError, nearest
from kopt.model.problem import Problem
from kopt.problem import native

FORMATS: tuple[tuple[Callable[[Path], bool], Callable[[Path], Problem]], ...] = ((native.recognises, native.read),)
"""Formats in the order in which they are tried: whether a folder is in it, and its reader.  The last one reads what
nothing recognises, so that its error says what is missing."""


def names(folder: Path) -> tuple[str, ...]:
    """Names of the problems under a folder of problems, sorted."""
    if not folder.is_dir():
        return ()
    return tuple(sorted(path.name for path in folder.iterdir() if path.is_dir() and not path.name.startswith(".")))


def load(folder: Path) -> Problem:
    """The problem in a folder; its name is the folder's.

    Raises:
        ProblemError: one line that says what is wrong and where; for a missing folder, with the nearest name.
    """
    if not folder.is_dir():
        raise ProblemError(_unknown(folder))
    read = next((read for recognises, read in FORMATS if recognises(folder)), FORMATS[-1][1])
    return read(folder)


def _unknown(folder: Path) -> str:
    known = [name for name in names(folder.parent) if any(knows(folder.parent / name) for knows, _ in FORMATS)]
    listed = f"; problems are {', '.join(known)}" if known else f"; {folder.parent} holds no problems"
    return f"unknown problem {folder.name!r}{nearest(folder.name, known)}{listed}"
