"""Read the items of a store for its maintenance: which files are items, and whether an item is what its name says."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from pydantic import JsonValue

from kopt import artifact
from kopt.artifact import TEMPORARY
from kopt.llm.pack import VALUES
from kopt.model.base import Value
from kopt.store import CONFLICTS, CORRUPT, LOCKS, SCHEMA_VERSION, Store
from kopt.store_use import USERS

NAME = re.compile(r"(?P<digest>[0-9a-f]{64})(?P<suffix>\.\w+)?")
"""Name of an item's file."""


class Item(NamedTuple):
    """An item's file."""

    path: Path
    kind: str
    digest: str
    """The digest in the file's name."""


class Envelope(NamedTuple):
    """The contents of an item that is a value; texts and blobs have none."""

    key: dict[str, JsonValue]
    value: JsonValue


class CorruptItem(Value):
    """An item whose content is not what its name says."""

    file: str
    """Path below the store."""
    fault: str


class Verified(Value):
    """The result of verifying every item of a store."""

    items: int
    bytes: int
    corrupt: tuple[CorruptItem, ...]
    set_aside: bool
    """Whether the corrupt items were moved to the store's folder `corrupt`."""


def kind_folders(root: Path) -> list[Path]:
    """List the folders of a store that hold items, one for each kind, sorted by name."""
    others = (CONFLICTS, CORRUPT, LOCKS, USERS)
    return [path for path in sorted(root.iterdir()) if path.is_dir() and path.name not in others]


def kind_files(folder: Path) -> list[Path]:
    """List the files of a kind's folder, half-written ones and the note of the schema version left out."""
    return [path for path in files(folder) if path.name != SCHEMA_VERSION and path.suffix != TEMPORARY]


def files(folder: Path) -> list[Path]:
    """List the files below a folder, sorted."""
    return [path for path in sorted(folder.rglob("*")) if path.is_file()]


def items(root: Path) -> Iterator[Item]:
    """Yield the items of a store, whatever lies under their names; other files of its folders are no items."""
    for folder in kind_folders(root):
        for path in sorted(folder.glob("[0-9a-f][0-9a-f]/*")):
            if match := NAME.fullmatch(path.name):
                yield Item(path, folder.name, match["digest"])


def envelope(content: bytes, item: Item) -> Envelope | None:
    """Return key and value of an item; None for a text or blob, which lies under the digest of its content.

    Raises:
        ValueError: the content is not what the item's name says.
    """
    if hashlib.sha256(content).hexdigest() == item.digest:
        return None
    if item.path.suffix != ".json":
        raise ValueError("the content does not match the digest in the name")
    try:
        whole = json.loads(content)
        identity = {field: whole[field] for field in ("kind", "version", "key")}
        if artifact.digest(whole["value"]) != whole["digest"]:
            raise ValueError("the value does not match its digest")
        if artifact.digest(identity) != item.digest or whole["kind"] != item.kind:
            raise ValueError("the key does not match the digest in the name")
    except (KeyError, TypeError, RecursionError) as error:
        raise ValueError(f"not an item of a store ({type(error).__name__})") from error
    return Envelope(whole["key"], whole["value"])


def verify(root: Path, *, set_aside: bool = False) -> Verified:
    """Compare the content of every item with its digest; what is corrupt stays unless it is to be set aside.

    A search verifies each item that it reads, sets a corrupt one aside and makes it again; this finds the others.
    """
    count, size, corrupt = 0, 0, list[CorruptItem]()
    for item in items(root):
        count += 1
        fault = _fault(item)
        if fault is None:
            size += item.path.stat().st_size
            continue
        corrupt.append(CorruptItem(file=str(item.path.relative_to(root)), fault=fault))
        if set_aside:
            _set_aside(root, item.path)
    return Verified(items=count, bytes=size, corrupt=tuple(corrupt), set_aside=set_aside)


def _fault(item: Item) -> str | None:
    """Return what is wrong with an item, in one line; None where nothing is."""
    if not item.path.is_file():
        return "not a file"
    try:
        content = item.path.read_bytes()
        envelope(content, item)
        if key := next((key for key in VALUES if key.kind == item.kind), None):  # replies also come from archives
            Store(Path()).shelf(VALUES[key]).parsed(key, item.digest, content)
    except OSError as error:
        return error.strerror or type(error).__name__
    except ValueError as error:
        return str(error).splitlines()[0][:200] if not isinstance(error, json.JSONDecodeError) else "not JSON"
    return None


def _set_aside(root: Path, path: Path) -> None:
    """Move what lies under an item's name to `corrupt`; a number is added where a file of the name is there already."""
    folder = root / CORRUPT
    folder.mkdir(exist_ok=True)
    target, number = folder / path.name, 1
    while target.exists() or target.is_symlink():
        target, number = folder / f"{path.name}.{number}", number + 1
    os.rename(path, target)
