"""`kopt run`: start a search, from any folder; prints the snakemake command that it runs, which does the same."""

from __future__ import annotations

import argparse
import os
import shlex
import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from kopt.commands.parts.arguments import ROOT, count
from kopt.config import Config
from kopt.errors import ConfigError
from kopt.problem import folder

if TYPE_CHECKING:
    from kopt.commands.parts.arguments import Commands


def add_parser(commands: Commands) -> None:
    """Declare the command's words."""
    parser = commands.add_parser(
        "run",
        help="search for a faster kernel: kopt run softmax",
        description="Search for a faster kernel.  Where no language model has a key, kopt's rewriter proposes.",
        epilog="Words after -- go to snakemake: kopt run softmax -- --dry-run",
    )
    parser.add_argument("problem", help="name of a shipped problem, or a problem's folder")
    parser.add_argument("settings", nargs="*", metavar="NAME=VALUE", help="settings of the run, e.g. rounds=3")
    parser.add_argument("--name", default="", help="name of the run (default: problem and preset)")
    parser.add_argument("--preset", default="beam_search", help="a file of config/presets (default: beam_search)")
    parser.add_argument("--cores", type=count, default=len(os.sched_getaffinity(0)), help="default: all")
    parser.add_argument("--gpus", type=count, help="GPUs of this machine to use (default: those that are visible)")
    parser.add_argument("--profile", help="a profile of snakemake, e.g. profiles/slurm")
    parser.set_defaults(command=run)


def run(options: argparse.Namespace) -> int:
    """Print the command and become it; the status is snakemake's."""
    words = command(options, os.environ)
    print(f"$ {shlex.join(['snakemake', *words])}", file=sys.stderr, flush=True)
    os.execve(sys.executable, [sys.executable, "-m", "snakemake", *words], os.environ)


def command(options: argparse.Namespace, environment: Mapping[str, str]) -> list[str]:
    """Return snakemake's words for a search.

    Raises:
        ProblemError: there is no such problem.
        ConfigError: a word is no setting.
    """
    found = folder.find(options.problem, ROOT / Config().problems).resolve()
    own, rest = _parted(options.settings)
    settings = {"problem": found.name, "preset": options.preset} | _given(own)
    if found.parent != (ROOT / Config().problems).resolve():
        settings["problems"] = str(found.parent)
    if options.name:
        settings["run"] = options.name
    if "models" not in settings:
        settings["models"] = f"[{', '.join(proposers(settings['preset'], environment))}]"
    gpus = options.gpus or gpus_here(environment)
    words = ["--snakefile", str(ROOT / "Snakefile"), "--cores", str(options.cores), "--quiet", "all"]
    words += ["--resources", f"gpu={gpus}"] if gpus else []
    words += ["--profile", options.profile] if options.profile else []
    return [*words, *rest, "--config", *(f"{name}={value}" for name, value in settings.items())]


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
        print(f"kopt: note: no key of a language model is set, so {REWRITER} proposes alone", file=sys.stderr)
    return able or [REWRITER]


def gpus_here(environment: Mapping[str, str]) -> int:
    """Return the number of GPUs that this process sees."""
    from kopt.device.hardware.gpus import visible_gpus

    return len(visible_gpus(environment))


def _parted(words: Sequence[str]) -> tuple[Sequence[str], Sequence[str]]:
    """Part settings from the words for snakemake, the first of which begins with a dash."""
    first = next((place for place, word in enumerate(words) if word.startswith("-")), len(words))
    return words[:first], words[first:]


def _given(words: Sequence[str]) -> dict[str, str]:
    settings = {}
    for word in words:
        name, sign, value = word.partition("=")
        if not sign or not name.isidentifier():
            raise ConfigError(f"{word!r} is no setting: write NAME=VALUE, e.g. rounds=3 (docs/configuration.md)")
        settings[name] = value
    return settings
