"""Whole DAGs on real Snakemake, in a copy of the project that a test may edit."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

import pytest

ROOT = Path(__file__).resolve().parents[2]
PARTS = ("Snakefile", "kopt", "workflow", "profiles", "config")


class Project:
    """A copy of the project, and Snakemake run in it."""

    DRY = ("problem=softmax", "run=t", "rounds=2", "models=[kopt-echo]", "judge=dry")

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        for part in PARTS:
            if (ROOT / part).is_dir():
                shutil.copytree(ROOT / part, folder / part, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                shutil.copy(ROOT / part, folder / part)

    def command(self, *config: str, options: tuple[str, ...] = ()) -> list[str]:
        snakemake = [sys.executable, "-m", "snakemake", "--cores", "2", *options]
        return [*snakemake, "--config", *config]

    def environment(self) -> dict[str, str]:
        """The environment as a user has it: nothing in it says that this copy of kopt is to be run."""
        return dict(os.environ)

    def run(self, *config: str, options: tuple[str, ...] = ()) -> subprocess.CompletedProcess[str]:
        return self.run_command(self.command(*config, options=options))

    def run_command(
        self, command: list[str], variables: Mapping[str, str] = MappingProxyType({})
    ) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            command, cwd=self.folder, env=self.environment() | dict(variables), text=True, check=False,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip

    def succeeds(self, *config: str, options: tuple[str, ...] = ()) -> str:
        done = self.run(*config, options=options)
        assert done.returncode == 0, done.stdout
        return done.stdout

    def planned(self, *config: str, targets: tuple[str, ...] = ()) -> set[str]:
        """Rules that would run now, for everything or for some files."""
        output = self.succeeds(*config, options=(*targets, "--dry-run", "--quiet", "rules"))
        return set(re.findall(r"^(\w+)\s+\d+$", output, re.M)) - {"total", "all"}

    def file(self, name: str) -> Path:
        return self.folder / "results" / "t" / name

    def edit(self, name: str, old: str, new: str) -> None:
        path = self.folder / name
        text = path.read_text()
        assert old in text
        path.write_text(text.replace(old, new, 1))


@pytest.fixture
def project(tmp_path):
    return Project(tmp_path)


@pytest.fixture(scope="session")
def new_project():
    """Makes a copy of the project in a folder, for fixtures that outlive a test."""
    return Project


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A dry run that has ended; its tests edit it and undo what they edited."""
    project = Project(tmp_path_factory.mktemp("finished"))
    project.output = project.succeeds(*project.DRY)
    return project
