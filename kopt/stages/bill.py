"""What a run's replies cost, label by label: by its ledger, and by the store for replies that were not paid again."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path

from kopt.artifact import read_table
from kopt.llm.ledger import Ledger, Released, Reserved, Reused, Settled
from kopt.llm.reply import Kept, Usage
from kopt.llm.request import ReplyKey
from kopt.model.kernel import Candidate
from kopt.report.costs import Cost, LabelledCost, total
from kopt.stages.language import LEDGER
from kopt.store import Store

LABEL = re.compile(r"r(?P<round>\d+)(?:a(?P<attempt>\d+)s(?P<slot>\d+)|(?P<other>d|c|reflect)\d*)")
SHARED = {"d": "diagnose", "c": "classify", "reflect": "reflect"}

Find = Callable[[str], Usage | None]
"""Usage of a stored reply, by its request's digest."""


def costs_of(run: Path, store: Store) -> list[LabelledCost]:
    """Costs by label and model, in that order; of what is in the ledger, or of the slots of a replay without one.

    A replay that kept no ledger tells of its candidates' replies only.  Nothing is written.
    """

    def find(request: str) -> Usage | None:
        reply = store.shelf(Kept).named(ReplyKey.kind, request)
        return reply.usage if reply is not None else None

    found = _by_ledger(run / LEDGER, find) if (run / LEDGER).is_file() else _by_candidates(run, find)
    return [_labelled(label, model, total(rows)) for (label, model), rows in sorted(found.items())]


def _by_ledger(path: Path, find: Find) -> Mapping[tuple[str, str], list[Cost]]:
    ledger = Ledger(path)
    ledger.refresh()
    found: dict[tuple[str, str], list[Cost]] = {}
    for line in ledger.lines():
        found.setdefault((line.label, line.model), []).append(_cost(line, find))
    return found


def _by_candidates(run: Path, find: Find) -> Mapping[tuple[str, str], list[Cost]]:
    tables = sorted(run.glob("round_*/attempt_*/candidates.parquet"))
    asked = [one for path in tables for one in read_table(path, Candidate) if one.request]
    return {(one.name, one.model): [_stored(one.cost_usd, find(one.request))] for one in asked}


def _cost(line: Reserved | Settled | Released | Reused, find: Find) -> Cost:
    if isinstance(line, Settled):
        return _tokens(line.usage).model_copy(
            update={"calls": 1, "paid_usd": line.usage.dollars, "saved_usd": line.saved}
        )
    if isinstance(line, Reused):
        return _stored(line.dollars, find(line.request))
    if isinstance(line, Reserved) or line.billed:
        return Cost(lost=1, paid_usd=line.dollars, lost_usd=line.dollars)
    return Cost(turned_away=1)


def _stored(dollars: float, usage: Usage | None) -> Cost:
    """A reply that was not paid again; without tokens where the store that has it is another one."""
    return _tokens(usage or Usage()).model_copy(update={"stored": 1, "stored_usd": dollars})


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
