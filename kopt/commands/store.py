"""`kopt store`: count the items of a store, verify them, remove what nobody needs, move the store.

Dead weight of a store is what no version of kopt with these schemas will read again: items of an older schema, files
that were set aside as corrupt, free locks, and half-written files of processes that were killed.  Unused is what no run
refers to.  Records of conflicts (`kopt.store.Shelf.put`) are counted and never removed, since a person should look at
each.  Nothing is removed or moved while a job of a search uses the store, and nothing is removed unasked: the first
command says what would go, and a second one with `--yes` removes it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated

import typer

from kopt.command_line.panel import Panel, Place
from kopt.commands.parts import store_items, store_move, store_prune
from kopt.commands.parts.arguments import DEFAULTS, AsJson
from kopt.commands.parts.output import print_answer
from kopt.commands.parts.store_items import Verified, files, kind_files, kind_folders
from kopt.commands.parts.store_move import Moved
from kopt.commands.parts.store_prune import Pruned, bytes_of, check_folder, is_older
from kopt.commands.parts.store_unused import Runs, known_runs
from kopt.config import Config
from kopt.errors import ConfigError, StoreError
from kopt.model.base import Value
from kopt.store import CONFLICTS, CORRUPT, item_files


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
    dead = store_prune.prune(root)
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


PLACE = Place(Panel.HOUSE, 1)


def run(
    store: Annotated[Path, typer.Argument(metavar="STORE", help="Folder of the store.")] = Path(DEFAULTS.store),
    verify: Annotated[
        bool, typer.Option("--verify", help="Compare the content of every item with its digest.")
    ] = False,
    prune: Annotated[
        bool,
        typer.Option(
            "--prune",
            help="Say what is dead weight: items of older schemas, set-aside files, free locks, half-written files.",
        ),
    ] = False,
    move: Annotated[
        Path | None,
        typer.Option("--move", metavar="TO", help="Move the store to another path, whole or not at all."),
    ] = None,
    set_aside: Annotated[
        bool, typer.Option("--set-aside", help="With --verify: move corrupt items to `corrupt`.")
    ] = False,
    unused: Annotated[bool, typer.Option("--unused", help="With --prune: also items that no run refers to.")] = False,
    runs: Annotated[
        list[Path] | None,
        typer.Option(
            "--runs",
            metavar="FOLDER...",
            help="With --unused: further folders of runs, beside those that the store remembers and `results`.",
        ),
    ] = None,
    yes: Annotated[
        bool, typer.Option("--yes", help="With --prune: remove them; default: only say what would go.")
    ] = False,
    no_link: Annotated[bool, typer.Option("--no-link", help="With --move: leave no link where the store was.")] = False,
    json: AsJson = False,
) -> int:
    """Count, verify, prune or move the items of a store.

    Nothing is removed unasked: --prune says what would go, --prune --yes removes it.  The status of a report is 1 where
    there are conflicts or corrupt items.

    JSON: counts by `kinds`, `corrupt`, `conflicts`, `dead`; with --verify `items` and `corrupt`; with --prune the
    `files`; with --move `source` and `target`.

    Examples:
        kopt store
        kopt store --verify
        kopt store --prune --unused
        kopt store .store --move /data/kopt-store
    """
    _check_words(locals())
    if move is not None:
        moved = store_move.move(store, move, link=not no_link)
        print_answer(moved, moved_lines(moved), as_json=json)
        return 0
    if prune:
        pruned = store_prune.prune(store, dry_run=not yes, runs=_runs(store, runs or ()) if unused else None)
        print_answer(pruned, pruned_lines(pruned, store), as_json=json)
        return 0
    if verify:
        check_folder(store)
        verified = _verify(store, set_aside=set_aside)
        print_answer(verified, verified_lines(verified, store), as_json=json)
        return 1 if verified.corrupt else 0
    report = store_report(store)
    print_answer(report, report_lines(report, store), as_json=json)
    return 1 if report.conflicts else 0


NEEDS = {"set_aside": "verify", "unused": "prune", "yes": "prune", "runs": "unused", "no_link": "move"}
"""Words that mean nothing without another one."""
ONE_OF = ("verify", "prune", "move")
"""Words that exclude each other."""


def _check_words(words: Mapping[str, object]) -> None:
    for word, needed in NEEDS.items():
        if words[word] and not words[needed]:
            raise ConfigError(f"--{word.replace('_', '-')} says how --{needed} works: write both")
    given = [word for word in ONE_OF if words[word]]
    if len(given) > 1:
        raise ConfigError(f"--{given[0]} and --{given[1]} are two works: write one of them")


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
        return store_items.verify(root, set_aside=set_aside)
    except OSError as error:
        raise StoreError(f"cannot verify the store {root}: {error.filename}: {error.strerror}") from error


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
