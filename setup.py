"""Put the Snakefile, the workflow, profiles and configuration of the checkout into the wheel, as `kopt/project`."""

import shutil
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

SHIPPED = ("Snakefile", "workflow", "profiles", "config")  # as kopt.project says
ROOT = Path(__file__).resolve().parent


class BuildWithProject(build_py):
    """Build packages, then copy the project; an editable install uses the checkout's own files."""

    def run(self) -> None:
        """Build as setuptools does, then copy."""
        super().run()
        if not self.editable_mode:
            for name in SHIPPED:
                copy(ROOT / name, Path(self.build_lib) / "kopt" / "project" / name)


def copy(source: Path, target: Path) -> None:
    """Copy a file, or a folder without what Python compiled."""
    target.parent.mkdir(parents=True, exist_ok=True)
    if source.is_file():
        shutil.copyfile(source, target)
    else:
        shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"), dirs_exist_ok=True)


setup(cmdclass={"build_py": BuildWithProject})
