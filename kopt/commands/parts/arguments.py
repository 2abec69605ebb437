"""Parse arguments that several commands share, and load the files, problems and settings that they name."""

from __future__ import annotations

import argparse
import math
import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias, TypeVar

from kopt import safe_yaml
from kopt.config import Config
from kopt.errors import ConfigError
from kopt.load_config import as_typed, load, read
from kopt.model.problem import Problem
from kopt.problem import folder
from kopt.project import project_root

if TYPE_CHECKING:
    Commands: TypeAlias = argparse._SubParsersAction[argparse.ArgumentParser]
    """The object to which a command adds its parser."""

Number = TypeVar("Number", int, float)

ROOT = project_root()
"""The folder that holds the Snakefile, configuration and problems: the checkout, or an installed kopt's copy."""

JUDGES = ("auto", "interpret", "cuda")


def add_kernel(parser: argparse.ArgumentParser) -> None:
    """Add the kernel's file and its problem."""
    parser.add_argument("file", type=Path, help="the kernel's Python file")
    parser.add_argument("--problem", required=True, help="name of a problem, its folder, or its file")


def add_judge(parser: argparse.ArgumentParser) -> None:
    """Add the judge, the seed of its inputs, and the wait for a GPU."""
    parser.add_argument("--judge", choices=JUDGES, default="auto", help="auto: cuda where a GPU is visible")
    parser.add_argument("--seed", type=whole_number, default=0, help="seed of the verification's inputs")
    parser.add_argument("--wait", type=seconds, default=600.0, help="longest wait for a GPU that others hold, s")


def add_settings(parser: argparse.ArgumentParser) -> None:
    """Add the words that name a run's settings, as snakemake takes them."""
    parser.add_argument("--preset", help="name of a preset in config/presets")
    parser.add_argument("--configfile", type=Path, help="file of settings on top of the defaults")
    parser.add_argument("--config", nargs="+", default=[], metavar="NAME=VALUE", help="single settings")


def settings_of(options: argparse.Namespace) -> Config:
    """Load the settings that `add_settings` took.

    Raises:
        ConfigError: one line that names the word and what to do.
    """
    raw: dict[str, object] = {"preset": options.preset} if options.preset else {}
    if options.configfile:
        raw |= read(existing_file(options.configfile, "a YAML file of settings"))
    for word in options.config:
        name, sign, value = word.partition("=")
        if not sign:
            raise ConfigError(f"--config {word}: write NAME=VALUE")
        try:
            raw[name] = safe_yaml.load(value)
        except safe_yaml.NotYaml as error:
            raise ConfigError(f"--config {word}: {value!r} is not YAML") from error
    return load(raw | as_typed(options.config), ROOT)


def uses_gpu(judge: str) -> bool:
    """Return whether a judge uses a GPU on this machine; `auto` does where a GPU is visible."""
    from kopt.device.hardware.gpus import visible_gpus

    return judge == "cuda" or (judge == "auto" and bool(visible_gpus(os.environ)))


def problem_of(word: str) -> Problem:
    """Load the problem that a word names.

    Raises:
        ProblemError: one line that says what is wrong.
    """
    return folder.load(folder.find(word, ROOT / Config().problems))


def kernel_text(file: Path) -> str:
    """Read the source of a kernel.

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


def count(text: str) -> int:
    """Parse a whole number of at least 1."""
    return _number(text, int, lambda value: value >= 1, "a whole number of at least 1")


def whole_number(text: str) -> int:
    """Parse a whole number of at least 0."""
    return _number(text, int, lambda value: value >= 0, "a whole number of at least 0")


def seconds(text: str) -> float:
    """Parse a finite number of seconds above 0."""
    return _number(text, float, lambda value: 0.0 < value < math.inf, "a number of seconds above 0")


def _number(text: str, kind: Callable[[str], Number], accepts: Callable[[Number], bool], wanted: str) -> Number:
    with suppress(ValueError):
        if accepts(value := kind(text)):
            return value
    raise argparse.ArgumentTypeError(f"{text!r} is not {wanted}")
