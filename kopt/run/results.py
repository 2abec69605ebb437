"""Digest what a search ended with, so that a replay can say whether it ended with the same."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from kopt.artifact import digest
from kopt.model.base import Value
from kopt.run.value import Run


def result_digests(run: Run) -> dict[str, str]:
    """Return the digests of a run's results by name: best kernel, trials, and the selection of each round.

    Rows count and not the bytes of tables, which depend on the version of pyarrow; of the best kernel the source counts
    and not its file, which names the run.
    """
    selections = {f"selection of round {at}": _digest(round.selection) for at, round in enumerate(run.rounds)}
    return {"best kernel": run.best.kernel, "trials": _digest(run.trials)} | selections


def _digest(rows: Sequence[Value]) -> str:
    return digest([row.model_dump(mode="json") for row in rows])


def same_results_line(here: Mapping[str, str], recorded: Mapping[str, str]) -> str:
    """Say whether a replay's results equal those of the recorded search; name those that do not."""
    unlike = [name for name in recorded if recorded[name] != here.get(name)]
    if unlike:
        return f"not those of the recorded search: {', '.join(unlike)}"
    return f"equal to those of the recorded search: {_counted(recorded)}"


def _counted(recorded: Mapping[str, str]) -> str:
    selections = sum(name.startswith("selection") for name in recorded)
    return f"best kernel, trials, {selections} selections"
