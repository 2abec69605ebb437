"""Write files into a folder that people also write to, and never replace or remove a file that is not kopt's own.

Beside every file that kopt writes it keeps the digest of what it wrote, so that a file that somebody else made, or
changed since, is told from kopt's own.

    <folder>/.written/<name>    SHA-256 of the file <name> as kopt wrote it
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from kopt import artifact

log = logging.getLogger(__name__)

WRITTEN = ".written"
MOST_BYTES = 1 << 30
"""Most bytes of a file that is looked at."""


def write(path: Path, text: str, instead: str) -> None:
    """Write a file of the folder, unless something else has its name: that stays, and is named in one line.

    Args:
        path: the file.
        text: its content.
        instead: what its owner should do.
    """
    if path.is_symlink() or (path.exists() and not is_own(path) and _digest(path) != artifact.text_digest(text)):
        _leave(path, instead)
        return
    artifact.write_text(path, text)
    artifact.write_text(_note(path), artifact.text_digest(text))


def remove(path: Path, instead: str) -> None:
    """Remove a file that kopt wrote; anything else stays, and is named in one line.

    Args:
        path: the file.
        instead: what its owner should do.
    """
    if path.is_symlink() or not is_own(path):
        _leave(path, instead)
        return
    with suppress(OSError):
        path.unlink(missing_ok=True)
        _note(path).unlink(missing_ok=True)


def is_own(path: Path) -> bool:
    """Return whether a file is as kopt wrote it."""
    try:
        with artifact.plain_file(_note(path), 1 << 10) as file:
            return file.read().decode(errors="replace") == _digest(path)
    except (OSError, ValueError):
        return False


def names(folder: Path) -> Iterator[str]:
    """Yield the names of what lies in the folder, hidden files left out, sorted."""
    if folder.is_dir():
        yield from sorted(path.name for path in folder.iterdir() if not path.name.startswith("."))


def _leave(path: Path, instead: str) -> None:
    what = "a folder" if path.is_dir() else "not as kopt wrote it"
    log.warning("%s is %s, and is left alone: %s", path, what, instead)


def _note(path: Path) -> Path:
    return path.parent / WRITTEN / path.name


def _digest(path: Path) -> str:
    """Return the digest of a file; empty for what is no file."""
    try:
        with artifact.plain_file(path, MOST_BYTES) as file:
            found = hashlib.sha256()
            while block := file.read(1 << 20):
                found.update(block)
            return found.hexdigest()
    except (OSError, ValueError):
        return ""
