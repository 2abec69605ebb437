"""Find the build of a run's best kernel."""

from __future__ import annotations

from kopt.jobs.recorded import told_build
from kopt.model.build import Built
from kopt.run.value import Run
from kopt.store import Store


def build_of_best(run: Run, store: Store) -> Built | None:
    """Return the build of the best kernel; None where no table names it.

    Raises:
        StoreError: the store no longer has it.
    """
    rows = (row for round in run.rounds for row in round.tables.builds if row.kernel == run.best.kernel and row.build)
    row = next(rows, None)
    return told_build(row.build, store) if row else None
