"""Define the interface of a problem format."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from kopt.model.problem import Problem
from kopt.problem.draft import Draft


@dataclass(frozen=True)
class Format:
    """A way in which a folder, or one file, holds a problem."""

    title: str
    """Name of the format, as messages give it."""
    files: Callable[[Path], tuple[Path, ...]]
    """The files of a folder that the problem is read from, whether they exist or not."""
    matches: Callable[[Path], bool]
    """Whether a folder, or a file, is in this format."""
    draft: Callable[[Path], Draft]
    """Read what the files of a folder, or a file, say, and run nothing.  Raises ProblemError with one line."""
    read: Callable[[Path], Problem]
    """Read and check the problem in a folder; its name is the folder's.  Raises ProblemError with one line."""
