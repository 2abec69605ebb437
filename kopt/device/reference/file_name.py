"""Name the file of a reference in messages: the user's own file where it is not `problem.py`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

USUAL = "problem.py"
ENDING = ".py"

_named: ContextVar[str] = ContextVar("file of the reference", default="")


@contextmanager
def naming(file: str) -> Iterator[None]:
    """Let messages inside the block name this file; with an empty name, `problem.py` in the problem's folder."""
    token = _named.set(file)
    try:
        yield
    finally:
        _named.reset(token)


def file_of(problem: str) -> str:
    """Return the name of the file of a problem's reference, with its folder where it lies in one."""
    return _named.get() or f"{problem}/{USUAL}"


def folder_of(problem: str) -> str:
    """Return the part of `file_of` before the file's own name, with a slash at the end where it is not empty."""
    return "".join(file_of(problem).rpartition("/")[:2])


def base_name() -> str:
    """Return the file's own name."""
    return file_of("").rpartition("/")[2]


def has_lines(name: str) -> bool:
    """Return whether a name is that of a file, whose lines are worth naming; else it is that of a function."""
    return name.endswith(ENDING)


def is_reference(file: str) -> bool:
    """Return whether a frame's file is the reference: its name is relative, those of modules are absolute."""
    return not file.startswith("/") and file.rpartition("/")[2] == base_name()
