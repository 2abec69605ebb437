"""Find a place for caches where the home folder cannot be written."""

from __future__ import annotations

import os
import tempfile
from collections.abc import MutableMapping
from pathlib import Path

CACHES = {"XDG_CACHE_HOME": ".cache", "TRITON_CACHE_DIR": ".triton/cache"}
"""Variables of Snakemake and of Triton for the folders of their caches, and where these are otherwise."""


def caches_elsewhere(environ: MutableMapping[str, str]) -> tempfile.TemporaryDirectory[str] | None:
    """Set the variables of caches to a new temporary folder where the home folder cannot be written.

    Args:
        environ: the environment, in which variables that are set stay.

    Returns:
        The folder, which is to be cleaned up at the end; None where nothing had to be done.
    """
    home = Path(os.path.expanduser("~"))
    wanted = [name for name, place in CACHES.items() if name not in environ and not _can_be_made(home / place)]
    if not wanted:
        return None
    folder = tempfile.TemporaryDirectory(prefix="kopt-caches-", ignore_cleanup_errors=True)
    environ.update({name: str(Path(folder.name, name.lower())) for name in wanted})
    return folder


def _can_be_made(folder: Path) -> bool:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return True
    except OSError:
        return False
