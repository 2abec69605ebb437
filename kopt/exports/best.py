"""Write the best kernel's source, a Python module that runs as it is."""

from __future__ import annotations

from pathlib import Path

from kopt.artifact import write_text
from kopt.jobs.kernels import kernel_source
from kopt.run.value import Run
from kopt.store import Store


def write(run: Run, store: Store, path: Path) -> None:
    """Write the source of the best kernel."""
    write_text(path, kernel_source(run.best.kernel, store))
