"""Write the best kernel's figures, against the seed and the baselines, as JSON."""

from __future__ import annotations

from pathlib import Path

from kopt.artifact import write_value
from kopt.run.final import final_figures
from kopt.run.value import Run
from kopt.store import Store


def write(run: Run, store: Store, path: Path) -> None:
    """Write the run's final figures."""
    write_value(path, final_figures(run))
