"""Where problems lie: finding a problem's folder and reading it in the format that it is in."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
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


def find(word: str, shipped: Path) -> Path:
    """The folder that a word of a command line means: the path that it is, or, without a slash, a shipped problem's.

    Args:
        word: a path or a name.
        shipped: the folder of the problems that are named where the word means none.

    Raises:
        ProblemError: the path leads to no problem; nothing that lies beside it is named.
    """
    if word and "/" not in word and word not in (".", ".."):
        return shipped / word
    path = Path(word)
    if not word or not _is_folder(path):
        raise ProblemError(f"{word!r} is no folder: name a problem or its folder{_listed(path.name, shipped)}")
    if not any((path / file).exists() for file in native.FILES):
        lacks = f"it has none of {', '.join(native.FILES)}"
        raise ProblemError(f"{word!r} holds no problem: {lacks}{_listed(path.name, shipped)}")
    return path if path.name not in ("", "..") else path.resolve()  # a problem is named like its folder


def load(folder: Path) -> Problem:
    """The problem in a folder; its name is the folder's.

    Raises:
        ProblemError: one line that says what is wrong and where; for a missing folder, with the nearest name.
    """
    if not _is_folder(folder):
        raise ProblemError(f"unknown problem {folder.name!r}{_listed(folder.name, folder.parent)}")
    read = next((read for recognises, read in FORMATS if recognises(folder)), FORMATS[-1][1])
    return read(folder)


def _listed(name: str, folder: Path) -> str:
    """The problem in a folder of problems that is named most like this, and all of them."""
    known = [one for one in names(folder) if any(knows(folder / one) for knows, _ in FORMATS)]
    return nearest(name, known) + (f"; problems are {', '.join(known)}" if known else f"; {folder} holds no problems")


def _is_folder(path: Path) -> bool:
    with suppress(OSError):  # a name that is too long
        return path.is_dir()
    return False
