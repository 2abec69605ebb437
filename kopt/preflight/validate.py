"""Before anything is spent: settings, problem, taxonomy, device and folders, each wrong one with one clear line."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kopt.config import EMBEDDED, Config
from kopt.device.hardware.gpus import visible_gpus
from kopt.errors import ConfigError
from kopt.llm.table import ModelTable, key_faults, load_table
from kopt.load_config import check_files, load, load_device
from kopt.model.base import Value
from kopt.problem import folder
from kopt.techniques import taxonomy


@dataclass(frozen=True)
class Checked:
    """A configuration that holds, and the files it names."""

    config: Config
    root: Path

    @property
    def problem_folder(self) -> Path:
        """Folder of the problem."""
        return self.root / self.config.problems / self.config.problem

    @property
    def problem_files(self) -> list[Path]:
        """Files that the problem is read from."""
        return [self.problem_folder / name for name in ("problem.py", "kernel.py", "problem.yaml")]

    @property
    def device_file(self) -> Path:
        """Description of the device that kernels are built for."""
        return self.root / "config" / "devices" / f"{self.config.device}.yaml"

    @property
    def taxonomy_file(self) -> Path:
        """Taxonomy of techniques."""
        return self.root / self.config.technique_clustering.techniques

    @property
    def models_file(self) -> Path:
        """Table of language models."""
        return self.root / self.config.models_file

    @property
    def setting_names(self) -> list[str]:
        """Names of all settings, and of what follows from them that a run records."""
        return [*Config.model_fields, "clustering", "effective_judge", "proposers", "asked_models"]

    def setting(self, name: str) -> Any:
        """A setting, or what follows from settings, as JSON takes it."""
        value = getattr(self.config, name)
        return value.model_dump(mode="json") if isinstance(value, Value) else value

    def evaluate_threads(self, cores: int) -> int:
        """Cores of one evaluate job: the interpreter uses all of them, a GPU's contestants share them."""
        if self.config.effective_judge == "interpret":
            return cores
        return min(cores, self.config.workers_per_gpu) if self.config.effective_judge == "cuda" else 1


def validate(raw: Mapping[str, Any], root: Path) -> Checked:
    """Check everything that can be checked without running anything.

    Raises:
        KoptError: one line that says what is wrong, where, and what to do.
    """
    checked = Checked(for_this_machine(load(raw, root)), root)
    table = model_table(checked.config, root)
    check_files(checked.config, root, table.models)
    check_keys(checked.config, table)
    folder.load(checked.problem_folder)
    taxonomy.load(checked.taxonomy_file)
    load_device(checked.config.device, root)
    return checked


def for_this_machine(config: Config) -> Config:
    """The same settings with the judge that this machine offers, where that is left to the machine."""
    if config.judge != "auto":
        return config
    return config.model_copy(update={"judge": "cuda" if visible_gpus(os.environ) else "interpret"})


def lock_note(run: str, locks: Path = Path(".snakemake/locks")) -> str:
    """What to tell who starts a run that is locked, which `--quiet all` would keep to itself; empty when it is not.

    Args:
        run: the run's folder, as rules name it.
        locks: where Snakemake keeps its locks: files that list what the holder reads and writes.
    """
    held = (line for lock in locks.glob("*.lock") for line in lock.read_text(errors="replace").splitlines())
    if not any(line.startswith(f"{run}/") for line in held):
        return ""
    return (
        f"{run} is locked: another snakemake works on it, or one was killed. If none does, give this command "
        "once with --unlock (for make demo: make unlock), then again"
    )


def model_table(config: Config, root: Path) -> ModelTable:
    """The table of language models; an empty one for a run that names none, which needs no such file.

    Raises:
        ConfigError: the table is malformed.
    """
    needed = config.asked_models or set(config.models) - set(EMBEDDED)
    return load_table(root / config.models_file) if needed else ModelTable()


def check_keys(config: Config, table: ModelTable) -> None:
    """Refuse a run that would call a model whose key is not set; replayed and exchanged replies need none.

    Raises:
        ConfigError: names the models and the environment variables.
    """
    lines = list(key_faults(table, config.asked_models).values()) if config.replies == "live" else []
    if lines:
        rest = f" (and {len(lines) - 1} more)" if lines[1:] else ""
        raise ConfigError(f"{lines[0]}{rest}; set it, or run with --config models='[kopt-rewrite]'")
