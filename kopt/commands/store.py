"""`kopt store`: count the items of a store, and remove what no run reads any longer.

Dead weight of a store is what no version of kopt with these schemas will read again: items of an older schema, files
that were set aside as corrupt, locks that nobody holds, and half-written files of processes that were killed.  Records
of conflicts (`kopt.store.Shelf.put`) are counted and never removed, since each asks for somebody's attention.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from filelock import FileLock, Timeout

from kopt.artifact import TEMPORARY
from kopt.config import Config
from kopt.device.hardware.measured import PeaksKey
from kopt.errors import ConfigError, StoreError
from kopt.jobs.keys import (
    BuildKey,
    EstimateKey,
    FactsKey,
    FinalsKey,
    ProfileKey,
    ProposalKey,
    TimingKey,
    VectorKey,
    VerdictKey,
)
from kopt.llm.packed import PackedKey
from kopt.llm.request import NoReplyKey, ReplyKey
from kopt.model.base import Value
from kopt.store import CONFLICTS, CORRUPT, LOCKS, SCHEMA_VERSION, Key, envelope_version, item_files

if TYPE_CHECKING:
    from kopt.commands.parts.arguments import Commands

KEYS: tuple[type[Key], ...] = (
    FactsKey, BuildKey, VerdictKey, EstimateKey, TimingKey, FinalsKey, ProfileKey, VectorKey, ProposalKey, PeaksKey,
    ReplyKey, NoReplyKey, PackedKey,
)  # fmt: skip
"""Every key class of kopt; kinds of other names are texts and blobs, which have no schema."""
VERSIONS = {key.kind: key.schema_version for key in KEYS}
WRITING_S = 3600.0
"""Age from which a half-written file counts as left behind, s; writing one takes a second at most."""


class KindReport(Value):
    """Count and size of the items of one kind."""

    kind: str
    items: int
    bytes: int
    older: int
    """Items of an older schema, which nothing reads any more."""


class StoreReport(Value):
    """What a store holds."""

    kinds: tuple[KindReport, ...]
    """By name of the kind."""
    corrupt: int
    """Files that were set aside because they were torn or altered."""
    conflicts: tuple[str, ...]
    """Files that record two unequal values of one key, below the store."""
    dead: int
    """Files that `prune` would remove now."""
    dead_bytes: int


class Pruned(Value):
    """The files that `prune` removed, or would remove."""

    files: tuple[str, ...]
    """Paths below the store."""
    bytes: int


def store_report(root: Path) -> StoreReport:
    """Count the items of a store by kind, its set-aside files, its conflicts, and what `prune` would remove.

    Raises:
        ConfigError: there is no such folder.
        StoreError: the folder cannot be read.
    """
    dead = prune(root)
    return StoreReport(
        kinds=tuple(_kind_report(folder) for folder in _kind_folders(root)),
        corrupt=len(_files(root / CORRUPT)),
        conflicts=tuple(str(path.relative_to(root)) for path in sorted((root / CONFLICTS).glob("*/*.json"))),
        dead=len(dead.files),
        dead_bytes=dead.bytes,
    )


def prune(root: Path, *, dry_run: bool = True) -> Pruned:
    """Remove the dead weight of a store; safe while runs of this version of kopt use the store.

    Runs of an older version that share the store lose what they have made, and make it again.

    Args:
        root: the store's folder.
        dry_run: only say what would be removed.

    Raises:
        ConfigError: there is no such folder.
        StoreError: the folder cannot be read, or a file cannot be removed.
    """
    if not root.is_dir():
        raise ConfigError(f"{root} is not a folder: name the store of a run (setting `store`)")
    removed, size = [], 0
    try:
        for path in (*_older_items(root), *_files(root / CORRUPT), *_leftovers(root), *_free_locks(root)):
            size += _bytes(path)
            removed.append(str(path.relative_to(root)))
            if not dry_run:
                path.unlink(missing_ok=True)
    except OSError as error:
        raise StoreError(f"cannot prune the store {root}: {error.filename}: {error.strerror}") from error
    return Pruned(files=tuple(removed), bytes=size)


def report_lines(report: StoreReport, root: Path) -> list[str]:
    """Describe a report for the terminal."""
    lines = [f"{'kind':12} {'items':>8} {'size':>10} {'older schema':>13}"]
    lines += [f"{kind.kind:12} {kind.items:8} {_size(kind.bytes):>10} {kind.older:13}" for kind in report.kinds]
    items, size, older = (sum(getattr(kind, name) for kind in report.kinds) for name in ("items", "bytes", "older"))
    lines += [f"{'total':12} {items:8} {_size(size):>10} {older:13}", ""]
    if report.corrupt:
        lines.append(f"{report.corrupt} corrupt files were set aside in {root / CORRUPT}; what they held is made again")
    for path in report.conflicts:
        lines.append(f"conflict: {root / path} holds two unequal values of one key; compare them, then delete the file")
    if report.dead:
        lines.append(f"kopt store {root} --prune removes {report.dead} files ({_size(report.dead_bytes)})")
    else:
        lines.append("nothing to prune")
    return lines


def add_parser(commands: Commands) -> None:
    """Declare the command's words."""
    store = commands.add_parser("store", help="say what a store holds; remove what nothing reads any more")
    store.add_argument("store", type=Path, nargs="?", default=Path(Config().store), help="folder of the store")
    store.add_argument(
        "--prune", action="store_true",
        help="remove items of older schemas, set-aside files, free locks and half-written files (default: only count)",
    )  # fmt: skip
    store.add_argument("--json", action="store_true", help="print everything as JSON")
    store.set_defaults(command=run)


def run(options: argparse.Namespace) -> int:
    """Print a report or prune; the exit status of a report is 1 where there are conflicts."""
    if options.prune:
        pruned = prune(options.store, dry_run=False)
        _print(pruned, [f"removed {len(pruned.files)} files ({_size(pruned.bytes)})"], as_json=options.json)
        return 0
    report = store_report(options.store)
    _print(report, report_lines(report, options.store), as_json=options.json)
    return 1 if report.conflicts else 0


def _print(value: Value, lines: Sequence[str], *, as_json: bool) -> None:
    print(json.dumps(value.model_dump(mode="json"), indent=1) if as_json else "\n".join(lines))


def _kind_folders(root: Path) -> list[Path]:
    return [path for path in sorted(root.iterdir()) if path.is_dir() and path.name not in (CONFLICTS, CORRUPT, LOCKS)]


def _kind_report(folder: Path) -> KindReport:
    files = [path for path in _files(folder) if path.name != SCHEMA_VERSION and path.suffix != TEMPORARY]
    return KindReport(
        kind=folder.name,
        items=len(files),
        bytes=sum(map(_bytes, files)),
        older=sum(_is_older(path, folder.name) for path in item_files(folder)),
    )


def _is_older(path: Path, kind: str) -> bool:
    version = envelope_version(path) if kind in VERSIONS else None
    return version is not None and version < VERSIONS[kind]


def _older_items(root: Path) -> list[Path]:
    return [path for kind in sorted(VERSIONS) for path in sorted(item_files(root / kind)) if _is_older(path, kind)]


def _files(folder: Path) -> list[Path]:
    return [path for path in sorted(folder.rglob("*")) if path.is_file()]


def _leftovers(root: Path) -> list[Path]:
    """Return the half-written files that no living process can still be writing."""
    written_before = time.time() - WRITING_S
    return [path for path in sorted(root.rglob(f".*{TEMPORARY}")) if _written_at(path) < written_before]


def _free_locks(root: Path) -> Iterator[Path]:
    """Yield each lock file while its lock is held here, so that nobody else holds the lock."""
    for path in sorted((root / LOCKS).rglob("*.lock")):
        try:
            with FileLock(path, timeout=0):
                yield path
        except Timeout:
            continue


def _bytes(path: Path) -> int:
    """Return a file's size; 0 when a run that uses the store has removed the file meanwhile."""
    return path.stat().st_size if path.exists() else 0


def _written_at(path: Path) -> float:
    """Return when a file was written, s since 1970; infinity when it is gone."""
    return path.stat().st_mtime if path.exists() else math.inf


def _size(count: int) -> str:
    return f"{count / 1e6:.1f} MB" if count >= 1e5 else f"{count / 1e3:.1f} kB"
