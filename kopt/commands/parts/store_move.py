"""Move a store to another path, whole or not at all.

On one file system a move is a rename.  Else the items are copied into a folder beside the target, which gets its name
once it is whole; then a link takes the place of the old folder, so that runs whose setting `store` names it go on, and
the old items are removed.  A move that was interrupted goes on where it was by the same command.
"""

from __future__ import annotations

import errno
import os
import shutil
from os import rename
from pathlib import Path

from kopt import artifact
from kopt.errors import ConfigError, StoreError
from kopt.model.base import Value
from kopt.store_use import LOCK, alone

COPYING, MOVED = ".kopt-moving", ".kopt-moved"
"""Suffixes of the folder that is being filled beside the target, and of the old folder that is being removed."""


class Moved(Value):
    """The result of moving a store."""

    source: str
    target: str
    files: int
    """Files that were copied; 0 where a rename was enough."""
    linked: bool
    """Whether a link lies where the store was."""


def move(root: Path, target: Path, *, link: bool = True) -> Moved:
    """Move a store.

    Args:
        root: the store's folder.
        target: the new path, where nothing lies yet.
        link: whether to leave a link where the store was.

    Raises:
        ConfigError: there is no such store, or something lies at the target.
        StoreError: a search uses the store, or a file cannot be read or written; the store is where it was.
    """
    root, target = Path(os.path.abspath(root)), Path(os.path.abspath(target))
    old = root.with_name(root.name + MOVED)
    if old.is_dir() and target.is_dir() and (root.is_symlink() or not root.exists()):
        return _finished(root, target, old, 0, link=link)
    if root.is_symlink() or not root.is_dir():
        raise ConfigError(f"{root} is not a folder: name the store itself")
    if os.path.lexists(target):
        raise ConfigError(f"{target} is there already: name a path where nothing lies")
    if target.is_relative_to(root):
        raise ConfigError(f"{target} lies in the store itself: name a path outside")
    try:
        with alone(root):
            target.parent.mkdir(parents=True, exist_ok=True)
            copied = _renamed_or_copied(root, target, old)
            return _finished(root, target, old, copied, link=link)
    except OSError as error:
        raise StoreError(
            f"cannot move the store {root} to {target}: {error.filename}: {error.strerror}; the same command goes on"
        ) from error


def _renamed_or_copied(root: Path, target: Path, old: Path) -> int:
    try:
        rename(root, target)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        copied = copy(root, target.with_name(target.name + COPYING))
        rename(target.with_name(target.name + COPYING), target)
        rename(root, old)
        return copied
    return 0


def copy(root: Path, folder: Path) -> int:
    """Copy the files of a store that a folder does not have yet, each whole or not at all; return how many there were.

    Files of the folder that the store does not have, of an interrupted copy of long ago, are removed.
    """
    wanted = {path.relative_to(root): path for path in sorted(root.rglob("*")) if path.is_file() and path.name != LOCK}
    if folder.is_dir():
        for path in sorted(folder.rglob("*")):
            if path.is_file() and path.relative_to(folder) not in wanted:
                path.unlink()
    folder.mkdir(parents=True, exist_ok=True)
    copied = 0
    for relative, path in wanted.items():
        content, there = path.read_bytes(), folder / relative
        if not there.is_file() or there.read_bytes() != content:
            artifact.write_bytes(there, content)
            shutil.copystat(path, there)
            copied += 1
    return copied


def _finished(root: Path, target: Path, old: Path, copied: int, *, link: bool) -> Moved:
    """Leave a link where the store was, and remove the old items."""
    if link and not os.path.lexists(root):
        os.symlink(target, root)
    if old.is_dir():
        shutil.rmtree(old)
    return Moved(source=str(root), target=str(target), files=copied, linked=root.is_symlink())
