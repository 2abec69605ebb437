"""`kopt run`: start a search, from any folder; prints the snakemake command that it runs, which does the same."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Annotated

import typer

from kopt.command_line import completion
from kopt.command_line.numbers import count
from kopt.command_line.panel import Panel, Place
from kopt.commands.parts.arguments import ROOT, AsJson, Cores, Preset, ProblemName, settings_of
from kopt.commands.parts.become import become
from kopt.commands.parts.output import print_answer
from kopt.config import Config
from kopt.errors import ConfigError
from kopt.model.base import Value
from kopt.preflight.start import TYPED
from kopt.problem import folder
from kopt.run_settings import RunSettings

PLACE = Place(Panel.SEARCH, 1)

PRESET = "beam_search"


class Search(Value):
    """The words of a search: problem, settings, and how snakemake runs it."""

    problem: str
    """Name of a shipped problem, or a problem's folder."""
    words: tuple[str, ...] = ()
    """Settings NAME=VALUE, then words for snakemake, the first of which begins with a dash."""
    name: str = ""
    """Name of the run; empty: problem and preset."""
    preset: str = PRESET
    cores: int
    gpus: int | None = None
    """GPUs to use; None: those that are visible."""
    profile: str | None = None
    """A profile of snakemake."""
    unlock: bool = False
    """Whether to remove the lock that a killed search left, and nothing else."""


def run(
    problem: ProblemName,
    settings: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="NAME=VALUE",
            help="Settings of the run, e.g. rounds=3; after -- words for snakemake.",
            autocompletion=completion.settings,
        ),
    ] = None,
    name: Annotated[
        str, typer.Option("--name", metavar="NAME", help="Name of the run; default: problem and preset.")
    ] = "",
    preset: Preset = PRESET,
    cores: Cores = None,
    gpus: Annotated[
        int | None,
        typer.Option(
            "--gpus",
            metavar="NUMBER",
            parser=count,
            help="GPUs of this machine to use; default: those that are visible.",
        ),
    ] = None,
    profile: Annotated[
        str | None,
        typer.Option(
            "--profile",
            metavar="NAME",
            help="A profile of snakemake, e.g. profiles/slurm.",
            autocompletion=completion.profiles,
        ),
    ] = None,
    unlock: Annotated[
        bool, typer.Option("--unlock", help="Remove the lock that a killed search left, and run nothing.")
    ] = False,
    json: AsJson = False,
) -> int:
    """Search for a faster kernel, from any folder.

    Print the snakemake command and become it: plain snakemake does the same, and the status is snakemake's.  Where no
    language model has a key, kopt's rewriter proposes.  Words after -- go to snakemake.  After a kill: the same command
    once with --unlock, then without.

    JSON: snakemake's `command`, the run's `folder`, and `final`, the file of its figures; snakemake then writes to
    stderr.

    Examples:
        kopt run softmax
        kopt run softmax rounds=3 --name first --cores 2
        kopt run ./my_problem --preset beam_search_diverse judge=interpret
        kopt run softmax -- --dry-run
    """
    search = Search(
        problem=problem, words=tuple(settings or ()), name=name, preset=preset or PRESET,
        cores=cores or len(os.sched_getaffinity(0)), gpus=gpus, profile=profile, unlock=unlock,
    )  # fmt: skip
    words = command(search, os.environ)
    config = settings_of(None, _configfile(words), words[words.index("--config") + 1 :])
    print(f"$ {shlex.join(['snakemake', *words])}", file=sys.stderr, flush=True)
    if json:
        place = Path(RunSettings(config).folder).absolute()
        answer = {"command": ["snakemake", *words], "folder": str(place), "final": str(place / "final.json")}
        print_answer(answer, (), as_json=True)
    if unlock:
        return _unlock([sys.executable, "-m", "snakemake", *words], RunSettings(config).folder, json)
    os.environ[TYPED] = shlex.join(unlocking(search))
    become([sys.executable, "-m", "snakemake", *words], stdout_is_taken=json)


def command(search: Search, environment: Mapping[str, str]) -> list[str]:
    """Return snakemake's words for a search.

    Raises:
        ProblemError: there is no such problem.
        ConfigError: a word is no setting.
    """
    if ".py:" in search.problem:
        raise ConfigError(
            f"{search.problem}: a function becomes a problem by `kopt new NAME --from {search.problem} --inputs ...`, "
            "which `kopt run NAME` takes"
        )
    own, rest = _parted(search.words)
    given = _given(own)
    found = folder.find(search.problem, ROOT / settings_of(None, _configfile(rest), own).problems)
    folder.check_file(found)
    found = found.resolve()
    settings = {"problem": found.name, "preset": search.preset} | given
    if found.parent != (ROOT / Config().problems).resolve():
        settings["problems"] = str(found.parent)
    if search.name:
        settings["run"] = search.name
    if "models" not in settings:
        settings["models"] = f"[{', '.join(proposers(settings['preset'], environment))}]"
    gpus = search.gpus or gpus_here(environment)
    words = ["--snakefile", str(ROOT / "Snakefile"), "--cores", str(search.cores), "--quiet", "all"]
    words += ["--resources", f"gpu={gpus}"] if gpus else []
    words += ["--profile", search.profile] if search.profile else []
    words += ["--unlock"] if search.unlock else []
    return [*words, *rest, "--config", *(f"{name}={value}" for name, value in settings.items())]


def unlocking(search: Search) -> list[str]:
    """Return the words of `kopt run` that unlock the run of a search."""
    settings, rest = _parted(search.words)
    words = ["kopt", "run", search.problem, *settings]
    words += ["--name", search.name] if search.name else []
    words += ["--preset", search.preset] if search.preset != PRESET else []
    words += ["--profile", search.profile] if search.profile else []
    return [*words, "--unlock", *(["--", *rest] if rest else [])]


def _unlock(program: Sequence[str], folder: str, json: bool) -> int:
    status = subprocess.run(program, check=False, stdout=sys.stderr).returncode
    if status == 0:
        print(f"kopt: {folder} is unlocked: run the same command without --unlock", file=sys.stderr)
    return status


def proposers(preset: str, environment: Mapping[str, str]) -> list[str]:
    """Return the preset's proposers that can be asked here, and kopt's rewriter where none can.

    Raises:
        ConfigError: there is no such preset.
    """
    from kopt.llm.table import key_faults, load_table
    from kopt.load_config import load_preset
    from kopt.model.proposers import EMBEDDED, REWRITER

    config = load_preset(preset, ROOT)
    models = [name for name in config.models if name not in EMBEDDED]
    if not models:
        return list(config.models)
    faults = key_faults(load_table(ROOT / config.models_file), models, environment)
    able = [name for name in config.models if name not in faults]
    if not able:
        print(
            f"kopt: note: no key of a language model is set, so kopt's own rewriter ({REWRITER}) proposes alone",
            file=sys.stderr,
        )
    return able or [REWRITER]


def gpus_here(environment: Mapping[str, str]) -> int:
    """Return the number of GPUs that this process sees."""
    from kopt.device.hardware.gpus import visible_gpus

    return len(visible_gpus(environment))


def _parted(words: Sequence[str]) -> tuple[Sequence[str], Sequence[str]]:
    """Part settings from the words for snakemake, the first of which begins with a dash."""
    first = next((place for place, word in enumerate(words) if word.startswith("-")), len(words))
    return words[:first], words[first:]


def _configfile(words: Sequence[str]) -> Path | None:
    """Return the file of settings among snakemake's words."""
    files = [value for name, value in pairwise(words) if name in ("--configfile", "--configfiles")]
    return Path(files[-1]) if files else None


def _given(words: Sequence[str]) -> dict[str, str]:
    settings = {}
    for word in words:
        name, sign, value = word.partition("=")
        if not sign or not name.isidentifier():
            raise ConfigError(f"{word!r} is no setting: write NAME=VALUE, e.g. rounds=3 (docs/configuration.md)")
        settings[name] = value
    return settings
