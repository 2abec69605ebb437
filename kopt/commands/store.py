"""`kopt store`: count the items of a store, verify them, remove what nobody needs, move the store.

Dead weight of a store is what no version of kopt with these schemas will read again: items of an older schema, files
that were set aside as corrupt, free locks, and half-written files of processes that were killed.  Unused is what no run
refers to.  Records of conflicts (`kopt.store.Shelf.put`) are counted and never removed, since a person should look at
each.  Nothing is removed or moved while a job of a search uses the store, and nothing is removed unasked: the first
command says what would go, and a second one with `--yes` removes it.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from kopt.commands.parts.store_items import Verified, files, kind_files, kind_folders, verify
from kopt.commands.parts.store_move import Moved, move
from kopt.commands.parts.store_prune import Pruned, bytes_of, check_folder, is_older, prune
from kopt.commands.parts.store_unused import Runs, known_runs
from kopt.config import Config
from kopt.errors import ConfigError, StoreError
from kopt.model.base import Value
from kopt.store import CONFLICTS, CORRUPT, item_files

if TYPE_CHECKING:
    from kopt.commands.parts.arguments import Commands


class KindReport(Value):
    """Count and size of the items of one kind."""

    kind: str
    items: int
    bytes: int
    older: int
    """Items of an older schema, which no run reads any longer."""


class StoreReport(Value):
    """Counts of the items of a store."""

    kinds: tuple[KindReport, ...]
    """Counts of each kind, sorted by name."""
    corrupt: int
    """Files that were set aside because they were torn or altered."""
    conflicts: tuple[str, ...]
    """Files that record two unequal values of one key, below the store."""
    dead: int
    """Files that `prune` would remove now."""
    dead_bytes: int


def store_report(root: Path) -> StoreReport:
    """Count the items of a store by kind, its set-aside files, its conflicts, and what `prune` would remove.

    Raises:
        ConfigError: there is no such folder.
        StoreError: the folder cannot be read.
    """
    dead = prune(root)
    return StoreReport(
        kinds=tuple(_kind_report(folder) for folder in kind_folders(root)),
        corrupt=len(files(root / CORRUPT)),
        conflicts=tuple(str(path.relative_to(root)) for path in sorted((root / CONFLICTS).glob("*/*.json"))),
        dead=len(dead.files),
        dead_bytes=dead.bytes,
    )


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
        lines.append(f"kopt store {root} --prune --yes removes {report.dead} files ({_size(report.dead_bytes)})")
    else:
        lines.append("nothing to prune")
    return lines


def pruned_lines(pruned: Pruned, root: Path) -> list[str]:
    """Describe for the terminal what was removed, or what would be."""
    lines = []
    if pruned.runs is not None:
        lines += [f"keeps what these runs refer to: {folder}" for folder in pruned.runs.folders]
        lines += [f"this run is gone, and what it alone refers to goes too: {folder}" for folder in pruned.runs.gone]
        lost = f", replies for ${pruned.paid_usd:.2f} among them" if pruned.paid_usd else ""
        lines.append(f"{pruned.unused} items that no run refers to{lost}")
    verb = "removed" if pruned.removed else "would remove"
    lines.append(f"{verb} {len(pruned.files)} files ({_size(pruned.bytes)})")
    if not pruned.removed and pruned.files:
        unused = " --unused" if pruned.runs is not None else ""
        lines.append(f"the same command with --yes removes them: kopt store {root} --prune{unused} --yes")
    return lines


def verified_lines(verified: Verified, root: Path) -> list[str]:
    """Describe for the terminal which items are corrupt."""
    lines = [f"corrupt: {root / item.file}: {item.fault}" for item in verified.corrupt]
    counted = f"{verified.items} items verified ({_size(verified.bytes)}), {len(verified.corrupt)} corrupt"
    if verified.corrupt:
        counted += f": set aside in {root / CORRUPT}" if verified.set_aside else "; --set-aside moves them away"
    return [*lines, counted]


def moved_lines(moved: Moved) -> list[str]:
    """Describe for the terminal where a store is now."""
    if moved.linked:
        return [f"moved to {moved.target}; {moved.source} is a link to it, so that runs go on as they are"]
    return [f"moved to {moved.target}; set `store: {moved.target}` in the settings of its runs"]


def add_parser(commands: Commands) -> None:
    """Declare the command's words."""
    store = commands.add_parser("store", help="count, verify, prune or move the items of a store")
    store.add_argument("store", type=Path, nargs="?", default=Path(Config().store), help="folder of the store")
    work = store.add_mutually_exclusive_group()
    work.add_argument("--verify", action="store_true", help="compare the content of every item with its digest")
    work.add_argument(
        "--prune", action="store_true",
        help="say what is dead weight: items of older schemas, set-aside files, free locks and half-written files",
    )  # fmt: skip
    work.add_argument("--move", type=Path, metavar="TO", help="move the store to another path, whole or not at all")
    store.add_argument("--set-aside", action="store_true", help="with --verify: move corrupt items to `corrupt`")
    store.add_argument("--unused", action="store_true", help="with --prune: also items that no run refers to")
    store.add_argument(
        "--runs", type=Path, nargs="+", default=[], metavar="FOLDER",
        help="with --unused: further folders of runs, beside those that the store remembers and `results`",
    )  # fmt: skip
    store.add_argument("--yes", action="store_true", help="with --prune: remove them (default: only say what would go)")
    store.add_argument("--no-link", action="store_true", help="with --move: leave no link where the store was")
    store.add_argument("--json", action="store_true", help="print everything as JSON")
    store.set_defaults(command=run)


def run(options: argparse.Namespace) -> int:
    """Do what the words say; the exit status of a report is 1 where there are conflicts, or corrupt items."""
    root: Path = options.store
    _check_words(options)
    if options.move is not None:
        moved = move(root, options.move, link=not options.no_link)
        _print(moved, moved_lines(moved), as_json=options.json)
        return 0
    if options.prune:
        pruned = prune(root, dry_run=not options.yes, runs=_runs(root, options.runs) if options.unused else None)
        _print(pruned, pruned_lines(pruned, root), as_json=options.json)
        return 0
    if options.verify:
        check_folder(root)
        verified = _verify(root, set_aside=options.set_aside)
        _print(verified, verified_lines(verified, root), as_json=options.json)
        return 1 if verified.corrupt else 0
    report = store_report(root)
    _print(report, report_lines(report, root), as_json=options.json)
    return 1 if report.conflicts else 0


NEEDS = {"set_aside": "verify", "unused": "prune", "yes": "prune", "runs": "unused", "no_link": "move"}
"""Words that mean nothing without another one."""


def _check_words(options: argparse.Namespace) -> None:
    for word, needed in NEEDS.items():
        if getattr(options, word) and not getattr(options, needed):
            raise ConfigError(f"--{word.replace('_', '-')} says how --{needed} works: write both")


def _runs(root: Path, more: Sequence[Path]) -> Runs:
    """Return the runs that use a store: those that it remembers, those of the default folder, and the given ones.

    Raises:
        ConfigError: there is none, so that everything would be removed.
    """
    check_folder(root)
    results = Path(Config().results)
    runs = known_runs(root, [*more, *([results] if results.is_dir() else [])])
    if not runs.folders:
        raise ConfigError(f"no run that uses the store {root} is known: name folders of runs with --runs")
    return runs


def _verify(root: Path, *, set_aside: bool) -> Verified:
    try:
        return verify(root, set_aside=set_aside)
    except OSError as error:
        raise StoreError(f"cannot verify the store {root}: {error.filename}: {error.strerror}") from error


def _print(value: Value, lines: Sequence[str], *, as_json: bool) -> None:
    print(json.dumps(value.model_dump(mode="json"), indent=1) if as_json else "\n".join(lines))


def _kind_report(folder: Path) -> KindReport:
    found = kind_files(folder)
    return KindReport(
        kind=folder.name,
        items=len(found),
        bytes=sum(map(bytes_of, found)),
        older=sum(is_older(path, folder.name) for path in item_files(folder)),
    )


def _size(count: int) -> str:
    return f"{count / 1e6:.1f} MB" if count >= 1e5 else f"{count / 1e3:.1f} kB"
