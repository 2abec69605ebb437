"""Say once more what a run that has ended found, where nothing is left to do."""

from __future__ import annotations

from pathlib import Path

from kopt.run.so_far import read_so_far
from kopt.stages.finish import lines
from kopt.store import Store
from kopt.view.limits import limits_of_run


def result_lines(folder: Path, store: Path) -> list[str]:
    """Write the last lines of a run, as its end wrote them; nothing for a run that has not ended.

    Args:
        folder: the run's folder, as it is shown.
        store: the run's store.

    Raises:
        KoptError: a file of the run is torn.
    """
    so_far = read_so_far(folder)
    run = so_far.run
    if run is None or not so_far.finished:
        return []
    kept = Store(store)
    files = {"kernel": str(folder / "best_kernel.py"), "report": str(folder / "report.html")}
    return lines(run, files, kept, limits_of_run(run, so_far, kept).shortfall).splitlines()
