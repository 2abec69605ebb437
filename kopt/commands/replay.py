"""Replay a packed run from its archive alone: replies, settings, models and problem come out of it."""

from __future__ import annotations

import hashlib
import sys
from pathlib import Path

import yaml

from kopt.artifact import read_value, write_text
from kopt.config import Config
from kopt.errors import ConfigError
from kopt.llm.pack import recording_in, unpack
from kopt.llm.packed import Recording
from kopt.llm.table import ModelTable
from kopt.model.problem import Problem
from kopt.problem import folder
from kopt.stages.finish import Manifest
from kopt.store import Store

PROBLEM_FILES = ("problem.py", "kernel.py", "problem.yaml")
PLACES = ("results", "store", "run", "problems", "models_file", "replies", "judge")
"""Settings that a replay makes for itself."""


def recorded(run: Path, manifest: Manifest, root: Path) -> Recording | None:
    """What a run was made from; None where its problem's files below `root` are gone or have changed since."""
    settings = manifest.configuration
    source = root / Path(str(settings["problems"])) / str(settings["problem"])
    files = {name: (source / name).read_text() for name in PROBLEM_FILES if (source / name).exists()}
    if len(files) != len(PROBLEM_FILES) or folder.load(source) != read_value(run / "problem.json", Problem):
        return None
    table = read_value(run / "models.json", ModelTable) if (run / "models.json").exists() else ModelTable()
    mine = {name: value for name, value in settings.items() if name in Config.model_fields}
    mine |= {"judge": settings["effective_judge"]}
    return Recording(run=manifest.run, settings=mine, models=table, problem=files)


def prepare(archive: Path, store: Path, results: Path, run: str = "") -> Path:
    """Put an archive's replies into a store and write the settings that replay its run; their file.

    Once more, with the same arguments, goes on with a replay that was interrupted.

    Args:
        archive: of a run that had ended.
        store: where the replies go.
        results: folder of the run's folder; settings, models and problem are written beside that.
        run: name of the replay, its own by default.

    Raises:
        CorruptArtifact: it is no such archive.
        ConfigError: it does not tell what the run was made from, or another run of that name lies there.
    """
    found = recording_in(archive)
    if found is None:
        raise ConfigError(
            f"{archive} holds replies only: kopt unpack it, then give the run's command with replies=replay"
        )
    name = run or found.run
    beside = results / f"{name}.replay"
    mark = beside / "archive.sha256"
    digest = hashlib.sha256(archive.read_bytes()).hexdigest()
    if (results / name).exists() and not (mark.exists() and mark.read_text().strip() == digest):
        raise ConfigError(f"{results / name} exists and is no replay of {archive}: name this one with --run NAME")
    unpack(archive, Store(store))
    write_text(mark, f"{digest}\n")
    for file, text in found.problem.items():
        write_text(beside / "problems" / str(found.settings["problem"]) / file, text)
    write_text(beside / "models.yaml", yaml.safe_dump(found.models.model_dump(mode="json"), sort_keys=True))
    kept = {key: value for key, value in found.settings.items() if key not in PLACES and value is not None}
    mine = {
        "results": str(results), "store": str(store), "run": name, "problems": str((beside / "problems").resolve()),
        "models_file": str((beside / "models.yaml").resolve()), "replies": "replay", "judge": found.settings["judge"],
    }  # fmt: skip
    write_text(beside / "settings.yaml", yaml.safe_dump(kept | mine, sort_keys=True))
    return beside / "settings.yaml"


def command(settings: Path, cores: int) -> list[str]:
    """The command line that runs prepared settings."""
    return [sys.executable, "-m", "snakemake", "--cores", str(cores), "--quiet", "all", "--configfile", str(settings)]
