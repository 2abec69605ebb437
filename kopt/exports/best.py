"""Write the best kernel as a Python module that runs as it is, says where it comes from, and checks itself."""

from __future__ import annotations

from pathlib import Path

from kopt.artifact import write_text
from kopt.run.value import Run
from kopt.store import Store
from kopt.winner.standalone import standalone
from kopt.winner.winner import winner_of


def write(run: Run, store: Store, path: Path) -> None:
    """Write the module of the best kernel."""
    write_text(path, standalone(winner_of(run, store)))
