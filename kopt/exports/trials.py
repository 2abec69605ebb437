"""Write the table of trials: a row for each slot and attempt, failed and slow candidates included."""

from __future__ import annotations

from pathlib import Path

from kopt.artifact import write_table
from kopt.model.trial import Trial
from kopt.run.value import Run
from kopt.store import Store


def write(run: Run, store: Store, path: Path) -> None:
    """Write all trials of the run as Parquet."""
    write_table(path, run.trials, Trial)
