"""Remove from a store what nobody reads any longer: its dead weight, and items that no run refers to."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from pathlib import Path

from filelock import FileLock, Timeout

from kopt.artifact import TEMPORARY
from kopt.commands.parts.store_items import Item, envelope, files
from kopt.commands.parts.store_unused import Runs, unused_items
from kopt.device.baselines.compilations import CompilationKey
from kopt.device.hardware.measured import PeaksKey
from kopt.errors import ConfigError, StoreError
from kopt.jobs.keys import (
    BuildKey,
    EstimateKey,
    ExperienceKey,
    FactsKey,
    FinalsKey,
    FurtherKey,
    MadeSeedKey,
    MeasurementsKey,
    ProfileKey,
    ProposalKey,
    RecordedBuildKey,
    TimingKey,
    VectorKey,
    VerdictKey,
)
from kopt.llm.packed import PackedKey
from kopt.llm.request import NoReplyKey, ReplyKey
from kopt.model.base import Value
from kopt.store import CORRUPT, LOCKS, Key, envelope_version, item_files
from kopt.store_use import alone

KEYS: tuple[type[Key], ...] = (
    FactsKey, BuildKey, VerdictKey, EstimateKey, TimingKey, FinalsKey, ProfileKey, VectorKey, ProposalKey, MadeSeedKey,
    PeaksKey, CompilationKey, ReplyKey, NoReplyKey, PackedKey, MeasurementsKey, RecordedBuildKey,
    ExperienceKey, FurtherKey,
)  # fmt: skip
"""Every key class of kopt; kinds of other names are texts and blobs, which have no schema."""
VERSIONS = {key.kind: key.schema_version for key in KEYS}
WRITING_S = 3600.0
"""Age from which a half-written file counts as left behind, s; writing one takes a second at most."""


class Pruned(Value):
    """The files that `prune` removed, or would remove."""

    files: tuple[str, ...]
    """Paths below the store."""
    bytes: int
    removed: bool
    """False for a dry run."""
    unused: int = 0
    """How many of the files are items that no run refers to."""
    paid_usd: float = 0.0
    """Price that was paid for the replies among the items, US dollars."""
    runs: Runs | None = None
    """The runs whose references were followed; None where unused items were not asked for."""


def prune(root: Path, *, dry_run: bool = True, runs: Runs | None = None) -> Pruned:
    """Remove the dead weight of a store and, if runs are given, what none of them refers to.

    Runs of an older version that share the store lose their items, and make them again.

    Args:
        root: the store's folder.
        dry_run: only say what would be removed.
        runs: the runs whose items stay; None: all items stay.

    Raises:
        ConfigError: there is no such folder.
        StoreError: the folder cannot be read, a file cannot be removed, or a search uses the store.
    """
    check_folder(root)
    if dry_run:
        return _prune(root, runs, remove=False)
    with alone(root):
        return _prune(root, runs, remove=True)


def _prune(root: Path, runs: Runs | None, *, remove: bool) -> Pruned:
    removed, size, paid = dict[str, None](), 0, 0.0
    try:
        unused = unused_items(root, runs) if runs else []
        paid = sum(_paid(item) for item in unused if item.kind == ReplyKey.kind)
        dead = (*_older_items(root), *files(root / CORRUPT), *_leftovers(root), *_free_locks(root))
        for path in (*dead, *(item.path for item in unused)):
            name = str(path.relative_to(root))
            size += 0 if name in removed else bytes_of(path)
            removed[name] = None
            if remove:
                path.unlink(missing_ok=True)
    except OSError as error:
        raise StoreError(f"cannot prune the store {root}: {error.filename}: {error.strerror}") from error
    return Pruned(
        files=tuple(removed), bytes=size, removed=remove, unused=len(unused), paid_usd=paid, runs=runs
    )  # fmt: skip


def _paid(item: Item) -> float:
    """Return what a reply cost, US dollars."""
    contents = envelope(item.path.read_bytes(), item)
    usage = contents.value.get("usage") if contents and isinstance(contents.value, dict) else None
    dollars = usage.get("dollars") if isinstance(usage, dict) else None
    return dollars if isinstance(dollars, float) else 0.0


def check_folder(root: Path) -> None:
    """Refuse a path that is no folder.

    Raises:
        ConfigError: it is none.
    """
    if not root.is_dir():
        raise ConfigError(f"{root} is not a folder: name the store of a run (setting `store`)")


def is_older(path: Path, kind: str) -> bool:
    """Return whether an item is of an older schema than kopt's."""
    version = envelope_version(path) if kind in VERSIONS else None
    return version is not None and version < VERSIONS[kind]


def _older_items(root: Path) -> list[Path]:
    return [path for kind in sorted(VERSIONS) for path in sorted(item_files(root / kind)) if is_older(path, kind)]


def _leftovers(root: Path) -> list[Path]:
    """Return the half-written files that no living process can still be writing."""
    written_before = time.time() - WRITING_S
    return [path for path in sorted(root.rglob(f".*{TEMPORARY}")) if _written_at(path) < written_before]


def _free_locks(root: Path) -> Iterator[Path]:
    """Yield each free lock file, while this process holds the lock."""
    for path in sorted((root / LOCKS).rglob("*.lock")):
        try:
            with FileLock(path, timeout=0):
                yield path
        except Timeout:
            continue


def bytes_of(path: Path) -> int:
    """Return a file's size; 0 when a run that uses the store has removed the file meanwhile."""
    return path.stat().st_size if path.exists() else 0


def _written_at(path: Path) -> float:
    """Return when a file was written, s since 1970; infinity when it is gone."""
    return path.stat().st_mtime if path.exists() else math.inf
