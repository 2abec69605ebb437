"""Before anything is spent: settings, problem, taxonomy, device and folders, each wrong one with one clear line."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kopt.config import Config, check_files, load, load_device
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
    def setting_names(self) -> list[str]:
        """Names of all settings, and of what follows from them that a run records."""
        return [*Config.model_fields, "clustering", "effective_judge", "proposers"]

    def setting(self, name: str) -> Any:
        """A setting, or what follows from settings, as JSON takes it."""
        value = getattr(self.config, name)
        return value.model_dump(mode="json") if isinstance(value, Value) else value

    def evaluate_threads(self, cores: int) -> int:
        """Cores of one evaluate job: the interpreter uses all of them."""
        return cores if self.config.effective_judge == "interpret" else 1


def validate(raw: Mapping[str, Any], root: Path) -> Checked:
    """Check everything that can be checked without running anything.

    Raises:
        KoptError: one line that says what is wrong, where, and what to do.
    """
    checked = Checked(load(raw, root), root)
    check_files(checked.config, root)
    folder.load(checked.problem_folder)
    taxonomy.load(checked.taxonomy_file)
    load_device(checked.config.device, root)
    return checked
