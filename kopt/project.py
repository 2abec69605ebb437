"""Find the project that kopt runs from: Snakefile, workflow, profiles, configuration, problems."""

from pathlib import Path

PACKAGE = Path(__file__).resolve().parent

SHIPPED = ("Snakefile", "workflow", "profiles", "config")
"""Files and folders of the checkout that an installed kopt holds too (`setup.py` copies them into `kopt/project`)."""


def project_root() -> Path:
    """Return the checkout; of an installed kopt, its copy of what the checkout holds."""
    installed = PACKAGE / "project"
    return installed if installed.is_dir() else PACKAGE.parent


def is_installed() -> bool:
    """Return whether this is an installed kopt, whose copy of the project an upgrade replaces."""
    return project_root() != PACKAGE.parent
