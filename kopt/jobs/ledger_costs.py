"""Sum what a run's replies cost, label by label, from the run's ledger.

Each job that asks models writes its own part of these costs as an output, so that the report depends on declared files
alone.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

from kopt.artifact import write_table
from kopt.jobs.asker import LEDGER
from kopt.jobs.command import Job
from kopt.llm.ledger import Ledger, Line, cost_of
from kopt.model.cost import Cost, LabelledCost, total

LABEL = re.compile(r"r(?P<round>[0-9]+)(?:a(?P<attempt>[0-9]+)s(?P<slot>[0-9]+)|(?P<shared>d|c|reflect)[0-9]*)")
SHARED = {"d": "diagnose", "c": "classify", "reflect": "reflect"}
"""Purposes of the requests that belong to no slot, by the word in the label."""


def write_costs(job: Job) -> None:
    """Write what the requests of a job cost, if its rule has an output `costs`: see `write_costs_of`."""
    for path in job.paths("costs"):
        write_costs_of(job.path("run"), job.text("labels"), path)


def write_costs_of(run: Path, labels: str, path: Path) -> None:
    """Write a table of what requests cost a run; earlier runs of the same job, and their lost calls, count too.

    Args:
        run: the run's folder.
        labels: prefix of the requests' labels, e.g. `r1a0`.
        path: the table to write.
    """
    ledger = Ledger(run / LEDGER)
    ledger.refresh()
    lines = [line for line in ledger.lines() if line.label.startswith(labels)]
    write_table(path, costs_of(lines), LabelledCost)


def costs_of(lines: Iterable[Line]) -> list[LabelledCost]:
    """Sum the lines of a ledger by label and model, sorted by both."""
    costs: dict[tuple[str, str], list[Cost]] = {}
    for line in lines:
        costs.setdefault((line.label, line.model), []).append(cost_of(line))
    return [_labelled(label, model, total(parts)) for (label, model), parts in sorted(costs.items())]


def _labelled(label: str, model: str, cost: Cost) -> LabelledCost:
    """Add to a cost the round, purpose and slot that its label names."""
    match = LABEL.fullmatch(label)
    if match is None:
        return LabelledCost(**cost.model_dump(), label=label, model=model, round=0, purpose="other")
    slot = int(match["slot"]) if match["slot"] else None
    own = "propose" if match["attempt"] == "0" else "repair"
    purpose = SHARED[match["shared"]] if match["shared"] else own
    return LabelledCost(
        **cost.model_dump(), label=label, model=model, round=int(match["round"]), purpose=purpose, slot=slot
    )
