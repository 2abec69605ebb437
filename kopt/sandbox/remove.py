"""Remove a folder that untrusted code has filled, however deep its tree is."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from contextlib import suppress
from itertools import count
from pathlib import Path


def remove_folder(folder: Path) -> None:
    """Remove a folder with all that is in it; what cannot be removed stays.

    Folders inside folders are moved up before they are emptied: a path of thousands of names is too long for the
    system, and a recursion into it too deep for Python.
    """
    with suppress(OSError):
        folder.chmod(0o700)
        top = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
        try:
            names = (f"{nonce}-{number}" for nonce in [secrets.token_hex(8)] for number in count())
            left = _emptied(top, top, names)
            while left:
                name = left.pop()
                left += _emptied_below(name, top, names)
        finally:
            os.close(top)
        folder.rmdir()


def _emptied_below(name: str, top: int, names: Iterator[str]) -> list[str]:
    """Empty and remove a folder of the top folder; return the names that the folders in it have got there."""
    moved: list[str] = []
    with suppress(OSError):
        inner = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=top)
        try:
            moved = _emptied(inner, top, names)
        finally:
            os.close(inner)
        os.rmdir(name, dir_fd=top)
    return moved


def _emptied(place: int, top: int, names: Iterator[str]) -> list[str]:
    """Remove the files of a folder, move its folders into the top folder, and return the new names of these."""
    moved = []
    with os.scandir(place) as entries:
        content = [(entry.name, entry.is_dir(follow_symlinks=False)) for entry in entries]
    for name, is_folder in content:
        with suppress(OSError):
            if is_folder:
                os.chmod(name, 0o700, dir_fd=place)
                new = next(names)
                os.rename(name, new, src_dir_fd=place, dst_dir_fd=top)
                moved.append(new)
            else:
                os.unlink(name, dir_fd=place)
    return moved
