"""`kopt replay`: run a packed run again from its archive alone, which holds replies, settings, models and problem."""

from __future__ import annotations

import argparse
import hashlib
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import yaml

from kopt.artifact import write_text
from kopt.commands.parts.arguments import ROOT, existing_file
from kopt.config import Config
from kopt.errors import ConfigError
from kopt.store import Store

if TYPE_CHECKING:
    from kopt.commands.parts.arguments import Commands

MADE_HERE = ("results", "store", "run", "problems", "models_file", "replies", "judge")
"""Settings that a replay makes for itself."""


def add_parser(commands: Commands) -> None:
    """Declare the command's words."""
    parser = commands.add_parser("replay", help="replay a packed run from its archive: no server, no key, no cost")
    parser.add_argument("archive", type=Path)
    parser.add_argument("--run", default="", help="name of the replay (default: the run's)")
    parser.add_argument("--results", type=Path, default=Path(Config().results), help="folder of its folder")
    parser.add_argument("--store", type=Path, default=Path(Config().store), help="the store to put the replies into")
    parser.add_argument("--cores", type=int, default=os.cpu_count() or 1)
    parser.set_defaults(command=run)


def run(options: argparse.Namespace) -> int:
    """Unpack the archive and run snakemake on its settings; the status is snakemake's."""
    archive = existing_file(options.archive, "an archive of replies")
    settings = prepare(archive, options.store.resolve(), options.results.resolve(), options.run)
    return subprocess.run(command(settings, options.cores), cwd=ROOT, check=False).returncode


def prepare(archive: Path, store: Path, results: Path, run: str = "") -> Path:
    """Put an archive's replies into a store, write the settings that replay its run, and return their file.

    The same call goes on with a replay that was interrupted.

    Args:
        archive: the archive of a run that had ended.
        store: the folder of the store that gets the replies.
        results: folder of the run's folder; settings, models and problem are written beside the run's folder.
        run: name of the replay, the run's own by default.

    Raises:
        CorruptArtifact: the file is not such an archive.
        ConfigError: the archive holds no settings of its run, or another run of that name exists.
    """
    from kopt.llm.pack import recording_in, unpack

    recording = recording_in(archive)
    if recording is None:
        raise ConfigError(
            f"{archive} holds replies only: kopt unpack it, then give the run's command with replies=replay"
        )
    name = run or recording.run
    beside = results / f"{name}.replay"
    mark = beside / "archive.sha256"
    digest = hashlib.sha256(archive.read_bytes()).hexdigest()
    if (results / name).exists() and not (mark.exists() and mark.read_text().strip() == digest):
        raise ConfigError(f"{results / name} exists and is not a replay of {archive}: name this one with --run NAME")
    unpack(archive, Store(store))
    write_text(mark, f"{digest}\n")
    for file, text in recording.problem.items():
        write_text(beside / "problems" / str(recording.settings["problem"]) / file, text)
    write_text(beside / "models.yaml", yaml.safe_dump(recording.models.model_dump(mode="json"), sort_keys=True))
    kept = {key: value for key, value in recording.settings.items() if key not in MADE_HERE and value is not None}
    settings = kept | {
        "results": str(results), "store": str(store), "run": name, "problems": str((beside / "problems").resolve()),
        "models_file": str((beside / "models.yaml").resolve()), "replies": "replay",
        "judge": recording.settings["judge"],
    }  # fmt: skip
    write_text(beside / "settings.yaml", yaml.safe_dump(settings, sort_keys=True))
    return beside / "settings.yaml"


def command(settings: Path, cores: int) -> list[str]:
    """Return the command line that runs prepared settings."""
    return [sys.executable, "-m", "snakemake", "--cores", str(cores), "--quiet", "all", "--configfile", str(settings)]
