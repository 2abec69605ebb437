"""What a run's replies cost, label by label, by its ledger.

Each job that asks keeps its own part of it among its outputs, so that the report depends on declared files alone.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from kopt.artifact import write_table
from kopt.jobs.asker import LEDGER
from kopt.jobs.command import Job
from kopt.llm.ledger import Ledger, Released, Reserved, Reused, Settled
from kopt.llm.reply import Usage
from kopt.report.costs import Cost, LabelledCost, total

LABEL = re.compile(r"r(?P<round>\d+)(?:a(?P<attempt>\d+)s(?P<slot>\d+)|(?P<other>d|c|reflect)\d*)")
SHARED = {"d": "diagnose", "c": "classify", "reflect": "reflect"}


def costs_of(lines: Iterable[Reserved | Settled | Released | Reused]) -> list[LabelledCost]:
    """Costs by label and model, in that order, of the last line of each call and of reuses."""
    found: dict[tuple[str, str], list[Cost]] = {}
    for line in lines:
        found.setdefault((line.label, line.model), []).append(_cost(line))
    return [_labelled(label, model, total(costs)) for (label, model), costs in sorted(found.items())]


def write_costs(job: Job) -> None:
    """Write what the requests of a job, whose labels begin with `labels`, cost this run; nowhere if it asks no model.

    The job's earlier tries and the calls that they lost count too.
    """
    for path in job.paths("costs"):
        ledger = Ledger(job.path("run") / LEDGER)
        ledger.refresh()
        mine = [line for line in ledger.lines() if line.label.startswith(job.text("labels"))]
        write_table(path, costs_of(mine), LabelledCost)


def _cost(line: Reserved | Settled | Released | Reused) -> Cost:
    if isinstance(line, Settled):
        return _tokens(line.usage).model_copy(
            update={"calls": 1, "paid_usd": line.usage.dollars, "saved_usd": line.saved}
        )
    if isinstance(line, Reused):
        return _tokens(line.usage).model_copy(update={"stored": 1, "stored_usd": line.usage.dollars})
    if isinstance(line, Reserved) or line.billed:
        return Cost(lost=1, paid_usd=line.dollars, lost_usd=line.dollars)
    return Cost(turned_away=1)


def _tokens(usage: Usage) -> Cost:
    return Cost(
        input=usage.input + usage.cached_input + usage.cache_write,
        cached=usage.cached_input,
        output=usage.output,
        reasoning=usage.reasoning,
        estimated=usage.estimated,
    )


def _labelled(label: str, model: str, cost: Cost) -> LabelledCost:
    found = LABEL.fullmatch(label)
    if found is None:
        return LabelledCost(**cost.model_dump(), label=label, model=model, round=0, purpose="other")
    slot = int(found["slot"]) if found["slot"] else None
    fresh = "propose" if found["attempt"] == "0" else "repair"
    purpose = SHARED[found["other"]] if found["other"] else fresh
    return LabelledCost(
        **cost.model_dump(), label=label, model=model, round=int(found["round"]), purpose=purpose, slot=slot
    )
