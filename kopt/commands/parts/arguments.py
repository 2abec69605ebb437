"""Declare words that several commands take, and load the files, problems and settings that they name."""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Literal

import typer

from kopt import safe_yaml
from kopt.artifact import write_text
from kopt.command_line import completion
from kopt.command_line.numbers import count, seconds, whole_number
from kopt.config import Config
from kopt.errors import ConfigError
from kopt.load_config import as_typed, load, read
from kopt.model.problem import Problem
from kopt.problem import folder
from kopt.project import project_root

ROOT = project_root()
"""The folder that holds the Snakefile, configuration and problems: the checkout, or an installed kopt's copy."""

DEFAULTS = Config()
"""The default settings."""

# --- words of commands ------------------------------------------------------------------------------------------------

KernelFile = Annotated[Path, typer.Argument(metavar="FILE", help="The kernel's Python file.")]
ProblemName = Annotated[
    str,
    typer.Argument(
        metavar="PROBLEM", help="Name of a problem, its folder, or its file.", autocompletion=completion.problems
    ),
]
ProblemOption = Annotated[
    str,
    typer.Option(
        "--problem",
        metavar="PROBLEM",
        help="Name of a problem, its folder, or its file.",
        autocompletion=completion.problems,
    ),
]
DeviceName = Annotated[
    str,
    typer.Option(
        "--device",
        metavar="NAME",
        help="The GPU to build and estimate for: a name in config/devices, or a file.",
        autocompletion=completion.devices,
    ),
]
JudgeName = Annotated[
    Literal["auto", "interpret", "cuda"],
    typer.Option("--judge", help="Who verifies and times; auto: cuda where a GPU is visible."),
]
Seed = Annotated[
    int, typer.Option("--seed", metavar="NUMBER", parser=whole_number, help="Seed of the verification's inputs.")
]
Wait = Annotated[
    float,
    typer.Option("--wait", metavar="SECONDS", parser=seconds, help="Longest wait for a GPU that others hold, s."),
]
GpuOrEstimate = Annotated[
    str | None,
    typer.Option(
        "--device",
        metavar="NAME",
        autocompletion=completion.devices,
        help="To estimate for: a name in config/devices (default h100), or a file; on a GPU, what it must be like.",
    ),
]
Cores = Annotated[
    int | None, typer.Option("--cores", metavar="NUMBER", parser=count, help="CPU cores to use; default: all.")
]
KeepStore = Annotated[
    Path | None,
    typer.Option(
        "--store",
        metavar="FOLDER",
        help="Keep PTX, cubin and the GPU's measured rates in this store.",
        show_default=False,
    ),
]
RunStore = Annotated[
    Path | None,
    typer.Option(
        "--store",
        metavar="FOLDER",
        help="The store that the run used; default: as its settings say.",
        show_default=False,
    ),
]
Output = Annotated[
    Path | None, typer.Option("-o", "--out", "--output", metavar="FILE", help="The file to write.", show_default=False)
]
Force = Annotated[bool, typer.Option("--force", help="Replace the file where there is one.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document and nothing else.")]
Preset = Annotated[
    str | None,
    typer.Option(
        "--preset",
        metavar="NAME",
        help="A preset of settings, a file in config/presets.",
        autocompletion=completion.presets,
    ),
]
ConfigFile = Annotated[
    Path | None,
    typer.Option("--configfile", metavar="FILE", help="A YAML file of settings on top of the defaults."),
]
Settings = Annotated[
    list[str] | None,
    typer.Option(
        "--config",
        metavar="NAME=VALUE...",
        help="Single settings, e.g. --config rounds=3 judge=cuda.",
        autocompletion=completion.settings,
    ),
]

# --- what the words name ----------------------------------------------------------------------------------------------


def settings_of(preset: str | None, configfile: Path | None, words: Sequence[str] | None) -> Config:
    """Load the settings that a command names as snakemake's words do: a preset, a file, and words NAME=VALUE.

    Raises:
        ConfigError: one line that names the word and what to do.
    """
    raw: dict[str, object] = {"preset": preset} if preset else {}
    if configfile:
        raw |= read(existing_file(configfile, "a YAML file of settings"))
    for word in words or ():
        name, sign, value = word.partition("=")
        if not sign:
            raise ConfigError(f"--config {word}: write NAME=VALUE")
        try:
            raw[name] = safe_yaml.load(value)
        except safe_yaml.NotYaml as error:
            raise ConfigError(f"--config {word}: {value!r} is not YAML") from error
    return load(raw | as_typed(words or ()), ROOT)


def uses_gpu(judge: str) -> bool:
    """Return whether a judge uses a GPU on this machine; `auto` does where a GPU is visible."""
    from kopt.device.hardware.gpus import visible_gpus

    return judge == "cuda" or (judge == "auto" and bool(visible_gpus(os.environ)))


def check_judge(judge: str) -> None:
    """Refuse the judge `cuda` on a machine without a GPU, before anything is built.

    Raises:
        ConfigError: no GPU is visible.
    """
    from kopt.device.hardware.gpus import visible_gpus

    if judge == "cuda" and not visible_gpus(os.environ):
        raise ConfigError(
            "--judge cuda: no GPU is visible: look at nvidia-smi and at CUDA_VISIBLE_DEVICES, or take --judge interpret"
        )


def problem_of(word: str) -> Problem:
    """Load the problem that a word names.

    Raises:
        ProblemError: one line that says what is wrong.
    """
    return folder.load(folder.find(word, ROOT / Config().problems))


def kernel_text(file: Path) -> str:
    """Read the source of a kernel, which may be a part of an exported file.

    Raises:
        ConfigError: the file is not UTF-8 text.
    """
    from kopt.winner.source import kernel_part

    return kernel_part(file_text(file))


def file_text(file: Path) -> str:
    """Read the whole text of a kernel's file.

    Raises:
        ConfigError: the file is not UTF-8 text.
    """
    try:
        # a byte-order mark is no part of a kernel
        return existing_file(file, "a kernel's Python file").read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise ConfigError(f"{file} cannot be read: it is not UTF-8 text; give a kernel's Python file") from error
    except OSError as error:
        raise ConfigError(f"{file} cannot be read: {error.strerror}") from error


def existing_file(path: Path, wanted: str) -> Path:
    """Return the path of an existing file; a pipe is refused, since reading it could take for ever.

    Args:
        path: the file.
        wanted: description of the wanted file, for the message.

    Raises:
        ConfigError: the path is not a file.
    """
    with suppress(OSError):  # a name that is too long
        if path.is_file():
            return path
    raise ConfigError(f"{path} cannot be read: it is not a file; give {wanted}")


def check_output(file: Path | None, *, force: bool) -> None:
    """Refuse, before anything is spent, a file that cannot be written, or that would be replaced unasked.

    Args:
        file: the file to write; None where there is none yet.
        force: whether a file that is there may be replaced.

    Raises:
        ConfigError: it is a folder, its folder does not exist, or the file is there.
    """
    if file is None:
        return
    if file.is_dir() or not file.absolute().parent.is_dir():
        what = "is a folder" if file.is_dir() else f"cannot be written: {file.absolute().parent} is not a folder"
        raise ConfigError(f"--output {file} {what}")
    if not force and os.path.lexists(file):
        raise ConfigError(f"{file} is there: name another file with --output, or replace it with --force")


def write_output(file: Path, text: str, *, force: bool) -> None:
    """Write a command's file, whole or not at all.

    Raises:
        ConfigError: as for `check_output`, also where the file came after the command had begun.
    """
    check_output(file, force=force)
    write_text(file, text)


def check_store(store: Path | None) -> None:
    """Refuse, before anything is spent, a store that cannot be a folder.

    Raises:
        ConfigError: the path, or one of its parents, is not a folder.
    """
    if store is None:
        return
    existing = next(path for path in (store, *store.absolute().parents) if os.path.lexists(path))
    if not existing.is_dir():
        raise ConfigError(f"--store {store}: {'it' if existing == store else existing} is not a folder")
