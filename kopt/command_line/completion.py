"""Complete words of a command line: names of problems, presets, devices, runs and export forms."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

from kopt.discovery import module_names
from kopt.project import project_root

PLAIN = re.compile(r"[\w.+/-]+")
"""Pattern of names that are offered: a shell evaluates what it is offered, and a folder may have any name."""


def problems(incomplete: str) -> list[str]:
    """List the shipped problems whose names begin with a text, and else the folders and files whose paths do."""
    from kopt.config import Config
    from kopt.problem import folder

    return _beginning(incomplete, folder.names(project_root() / Config().problems)) or _paths(incomplete)


def presets(incomplete: str) -> list[str]:
    """List the presets whose names begin with a text."""
    return _stems("presets", incomplete)


def devices(incomplete: str) -> list[str]:
    """List the described devices whose names begin with a text."""
    return _stems("devices", incomplete)


def profiles(incomplete: str) -> list[str]:
    """List the shipped profiles of snakemake, and else the paths, that begin with a text."""
    folders = [path for path in _folder(project_root() / "profiles") if path.is_dir()]
    return _beginning(incomplete, (f"profiles/{path.name}" for path in folders)) or _paths(incomplete)


def settings(incomplete: str) -> list[str]:
    """List the settings whose names begin with a text, each followed by `=`."""
    from kopt.config import Config

    return [f"{name}=" for name in _beginning(incomplete, Config.model_fields)]


def runs(incomplete: str) -> list[str]:
    """List the paths of runs in the default folder of runs, and else the paths, that begin with a text."""
    from kopt.config import Config

    results = Path(Config().results)
    folders = [path for path in _folder(results) if path.is_dir() and PLAIN.fullmatch(path.name)]
    return [str(path) for path in folders if str(path).startswith(incomplete)] or _paths(incomplete)


def forms(incomplete: str) -> list[str]:
    """List the export forms whose names begin with a text."""
    return _beginning(incomplete, export_forms())


def export_forms() -> tuple[str, ...]:
    """List the names of all export forms, sorted; `script` is the form of `best_kernel.py`."""
    return tuple(sorted(("script", *(name.replace("_", "-") for name in module_names("kopt.winner.targets")))))


def _stems(kind: str, incomplete: str) -> list[str]:
    return _beginning(incomplete, (path.stem for path in _folder(project_root() / "config" / kind)))


def _beginning(incomplete: str, names: Iterable[str]) -> list[str]:
    return sorted(name for name in names if name.startswith(incomplete) and PLAIN.fullmatch(name))


def _paths(incomplete: str) -> list[str]:
    """List the files and folders whose paths begin with a text; folders end with a slash."""
    beginning = incomplete.rpartition("/")[2]
    head = incomplete[: len(incomplete) - len(beginning)]
    found = [path for path in _folder(Path(head or ".")) if path.name.startswith(beginning)]
    shown = [path for path in found if PLAIN.fullmatch(path.name) and not path.name.startswith(".")]
    return [f"{head}{path.name}{'/' * path.is_dir()}" for path in shown]


def _folder(folder: Path) -> list[Path]:
    try:
        return sorted(folder.iterdir())
    except OSError:
        return []
