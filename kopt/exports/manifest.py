"""Write the run's manifest as JSON: settings, versions, device, enough to repeat the run and to load it."""

from __future__ import annotations

from pathlib import Path

from kopt.artifact import write_value
from kopt.run.manifest import manifest_of
from kopt.run.value import Run
from kopt.store import Store


def write(run: Run, store: Store, path: Path) -> None:
    """Write the run's manifest."""
    write_value(path, manifest_of(run))
