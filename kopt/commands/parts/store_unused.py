"""Find the items of a store that no run refers to.

A run refers to an item if a file of the run holds the item's digest, or the digest of the kernel, build or request in
the item's key, or if another item does so that the run refers to.  Items whose key names none of these (facts of a
problem, rates of a GPU) are always in use, and so are all replies of a store into which an archive was unpacked.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from kopt.artifact import canonical_json
from kopt.commands.parts.store_items import Item, envelope, items
from kopt.errors import StoreError
from kopt.llm.packed import PackedKey
from kopt.llm.request import NoReplyKey, ReplyKey
from kopt.model.base import Value
from kopt.store_use import users

DIGEST = re.compile(r"(?<![0-9a-f])[0-9a-f]{64}(?![0-9a-f])")

SUBJECTS = ("kernel", "kernels", "build", "compiled", "parent", "request")
"""Fields of keys that name what an item is about; other fields name code, problems and devices, which many share."""


class Runs(Value):
    """The runs that are known to use a store."""

    folders: tuple[str, ...]
    gone: tuple[str, ...]
    """Folders of runs that have used the store, and lie there no longer."""


class _Node(NamedTuple):
    """What an item is about and what it leads to, as digests."""

    item: Item
    subjects: frozenset[str]
    is_always_used: bool
    leads_to: frozenset[str]


def known_runs(root: Path, more: Sequence[Path]) -> Runs:
    """List the runs that have used a store, and further folders that hold runs or are one.

    Raises:
        StoreError: one of the further folders is none.
    """
    registered = [(user, user.found(root)) for user in users(root)]
    folders = {str(place) for _, place in registered if place is not None}
    for folder in more:
        if not folder.is_dir():
            raise StoreError(f"{folder} is not a folder of runs")
        folders.add(str(folder.resolve()))
    gone = {user.path for user, place in registered if place is None}
    return Runs(folders=tuple(sorted(folders)), gone=tuple(sorted(gone)))


def unused_items(root: Path, runs: Runs) -> list[Item]:
    """List the items that no run refers to; corrupt items are left to `verify`.

    Raises:
        StoreError: a file of a run cannot be read, so that what it refers to is not known.
    """
    nodes = list(_nodes(root))
    used = {digest for folder in runs.folders for digest in _referred(Path(folder), root)}
    unpacked = (root / PackedKey.kind).is_dir()
    rest = nodes
    while True:
        reached = [node for node in rest if _is_used(node, used, unpacked=unpacked)]
        if not reached:
            return [node.item for node in rest]
        for node in reached:
            used |= {node.item.digest} | node.leads_to
        reached_items = {node.item for node in reached}
        rest = [node for node in rest if node.item not in reached_items]


def _is_used(node: _Node, used: set[str], *, unpacked: bool) -> bool:
    if node.is_always_used or node.item.digest in used or not node.subjects.isdisjoint(used):
        return True
    return unpacked and node.item.kind in (ReplyKey.kind, NoReplyKey.kind)


def _nodes(root: Path) -> Iterator[_Node]:
    for item in items(root):
        try:
            contents = envelope(item.path.read_bytes(), item)
        except (OSError, ValueError):
            continue
        if contents is None:
            yield _Node(item, frozenset(), False, frozenset())
            continue
        about = {name: contents.key[name] for name in SUBJECTS if name in contents.key}
        subjects = frozenset(DIGEST.findall(canonical_json(about)))
        yield _Node(item, subjects, not about, frozenset(DIGEST.findall(canonical_json(contents.value))))


def _referred(folder: Path, root: Path) -> Iterator[str]:
    """Yield the digests in the files of a run; a store within the folder is none of them."""
    store = root.resolve()
    for path in sorted(folder.rglob("*")):
        if path.is_file() and not path.is_symlink() and store not in path.parents:
            try:
                yield from DIGEST.findall(_text(path))
            except (OSError, ValueError) as error:
                raise StoreError(f"cannot read {path} of a run, so nothing is removed: {error}") from error


def _text(path: Path) -> str:
    """Return the text of a run's file; of a table the text of its columns."""
    if path.suffix != ".parquet":
        return path.read_bytes().decode("ascii", errors="replace")
    import pyarrow as pa
    import pyarrow.parquet as pq

    table = pq.ParquetFile(path).read()
    columns: Iterable[pa.ChunkedArray] = (column for column in table.columns if not pa.types.is_primitive(column.type))
    return "\n".join(str(column.to_pylist()) for column in columns)
