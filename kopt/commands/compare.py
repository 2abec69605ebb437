"""`kopt compare`: run the searches of a comparison, or compare searches that have ended."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from kopt.command_line import completion
from kopt.command_line.panel import Panel, Place
from kopt.commands.parts.arguments import ROOT, AsJson, Cores, Force, Output, check_output, write_output
from kopt.commands.parts.become import become
from kopt.commands.parts.looked_at import run_folder
from kopt.commands.parts.output import print_answer
from kopt.errors import ConfigError

PLACE = Place(Panel.LOOK, 5)

PLANS = (".yaml", ".yml")


def run(
    what: Annotated[
        list[Path],
        typer.Argument(
            metavar="WHAT...",
            help="Finished runs, folders of such, or one plan of a comparison (a YAML file); after a plan and -- words "
            "for snakemake.",
            autocompletion=completion.runs,
        ),
    ],
    output: Output = None,
    force: Force = False,
    cores: Cores = None,
    unlock: Annotated[
        bool, typer.Option("--unlock", help="Remove the lock that a killed comparison left, and run nothing.")
    ] = False,
    json: AsJson = False,
) -> int:
    """Compare search strategies: medians, intervals, win rates and curves at equal slots, dollars and GPU seconds.

    Of finished runs it prints a comparison, and writes it as one page with -o.  Of a plan it runs the searches first,
    strategies × problems × seeds on one store: it prints the snakemake command and becomes it, and goes on where it
    was; the page is then compare.html in the comparison's folder.  Runs of other judges, devices or workloads are
    refused; what else differs is said.

    JSON: `kind`, `statement`, `warnings`, `unavailable`, `standings`, `duels`, `curves`, `entrants`; of a plan
    snakemake's `command`, `folder` and `answer`, the file with this JSON.

    Examples:
        kopt compare compare.yaml --cores 2
        kopt compare compare.yaml -- --dry-run
        kopt compare results/clustering -o compare.html
        kopt compare results/first results/second --json
    """
    words = [str(word) for word in what]
    if words[0].endswith(PLANS):
        if output or force:
            raise ConfigError("-o and --force are for finished runs: a plan's page is compare.html in its folder")
        return _search(words, cores or len(os.sched_getaffinity(0)), unlock, json)
    if unlock or cores:
        raise ConfigError("--unlock and --cores are for a plan (a YAML file): nothing is run of finished runs")
    if options := [word for word in words if word.startswith("-")]:
        raise ConfigError(f"{options[0]}: words for snakemake go with a plan (a YAML file) alone")
    return _compare(what, output, force, json)


def command(plan: Path, rest: Sequence[str], cores: int, *, gpus: int = 0, unlock: bool = False) -> list[str]:
    """Return snakemake's words for a comparison; with GPUs, its searches share them."""
    words = ["--snakefile", str(ROOT / "workflow" / "compare.smk"), "--cores", str(cores), "--quiet", "all"]
    words += ["--workflow-profile", str(ROOT / "profiles" / "default")]
    words += ["--resources", f"gpu={gpus}"] if gpus else []
    words += ["--unlock"] if unlock else []
    return [*words, *rest, "--config", f"plan={plan}"]


def _search(words: Sequence[str], cores: int, unlock: bool, json: bool) -> int:
    from kopt.comparison.plan import load_plan
    from kopt.device.hardware.gpus import visible_gpus

    rest = words[1:]
    if rest and not rest[0].startswith("-"):
        raise ConfigError(f"{rest[0]}: a comparison has one plan; words for snakemake follow --, e.g. -- --dry-run")
    plan = load_plan(Path(words[0]))
    gpus = 0 if plan.profile else len(visible_gpus(os.environ))
    program = command(Path(words[0]), rest, cores, gpus=gpus, unlock=unlock)
    print(f"$ {shlex.join(['snakemake', *program])}", file=sys.stderr, flush=True)
    if json:
        place = Path(plan.folder).absolute()
        answer = {"command": ["snakemake", *program], "folder": str(place), "answer": str(place / "compare.json")}
        print_answer(answer, (), as_json=True)
    become([sys.executable, "-m", "snakemake", *program], stdout_is_taken=json)


def _compare(what: Sequence[Path], output: Path | None, force: bool, json: bool) -> int:
    from kopt.comparison.entrant import entrants
    from kopt.comparison.lines import comparison_lines
    from kopt.comparison.page import render_comparison
    from kopt.comparison.standings import compare

    check_output(output, force=force)
    folders, notes = _folders(what)
    comparison = compare(entrants(folders), what[0].name if len(what) == 1 else "comparison", notes)
    if output is not None:
        write_output(output, render_comparison(comparison), force=force)
    print_answer(comparison, comparison_lines(comparison), as_json=json)
    return 0


def _folders(what: Sequence[Path]) -> tuple[list[Path], list[str]]:
    """Return the folders of the runs that words name, and notes about those that have not ended."""
    from kopt.comparison.entrant import finished_below

    folders: list[Path] = []
    notes: list[str] = []
    for word in what:
        if word.is_dir() and not any((word / name).is_file() for name in ("started.json", "manifest.json")):
            finished, begun = finished_below(word)
            folders += finished
            if begun:
                more = f" and {len(begun) - 1} more" if begun[1:] else ""
                notes.append(f"{begun[0]}{more} left out: not ended")
        else:
            folders.append(run_folder(word))
    return list(dict.fromkeys(folders)), notes
