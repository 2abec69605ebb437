"""Sum the cost of a run's language models, from the ledger in the run's folder."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from kopt.jobs.ledger_costs import costs_of
from kopt.model.base import Value
from kopt.model.cost import Cost, LabelledCost, total
from kopt.report.costs import by_model, by_round, by_round_and_purpose, by_slot, dollars
from kopt.run.load import load_ledger

COLUMNS = (6, 6, 10, 10, 9, 9, 10)
"""Widths of a table's columns after the first."""


class RunCost(Value):
    """The cost of a run's replies, in all and by purpose."""

    run: str
    replayed: bool
    """Every reply came from the store: nothing was paid."""
    total: Cost
    by_model: dict[str, Cost]
    by_round: dict[int, Cost]
    by_round_and_purpose: dict[str, Cost]
    """Keys such as `1 propose`."""
    by_slot: dict[str, Cost]
    """Keys such as `r1s3`, repairs included."""
    labels: tuple[LabelledCost, ...]
    """The cost of each request, by its label."""


def run_cost(run: Path) -> RunCost:
    """Add up what the replies of a run cost, by the ledger in its folder.

    Raises:
        ConfigError: the run asked no language model.
    """
    labels = costs_of(load_ledger(run).lines())
    whole = total(labels)
    return RunCost(
        run=run.name,
        replayed=whole.replayed,
        total=whole,
        by_model=by_model(labels),
        by_round=by_round(labels),
        by_round_and_purpose={f"{r} {purpose}": cost for (r, purpose), cost in by_round_and_purpose(labels).items()},
        by_slot={f"r{r}s{slot}": cost for (r, slot), cost in by_slot(labels).items()},
        labels=tuple(labels),
    )


def cost_lines(cost: RunCost, *, slots: bool = False) -> list[str]:
    """Describe the costs for the terminal; with `slots` also by slot, and by each request that belongs to no slot."""
    others = {row.label: row for row in cost.labels if row.slot is None}
    width = max(map(len, [*cost.by_model, "round, purpose"]))
    return [
        *_table("model", cost.by_model, cost.replayed, width),
        *_table("round, purpose", cost.by_round_and_purpose, cost.replayed, width),
        *_table("slot", cost.by_slot | others if slots else {}, cost.replayed, width),
        _row("total", cost.total, cost.replayed, width),
        "",
        *_remarks(cost),
    ]


def _table(head: str, rows: Mapping[str, Cost], replayed: bool, width: int) -> list[str]:
    if not rows:
        return []
    names = ["calls", "stored", "input", "cached", "output", "reasoning", "had cost" if replayed else "paid"]
    heads = " ".join(f"{name:>{size}}" for name, size in zip(names, COLUMNS, strict=True))
    return [f"{head:{width}} {heads}", *(_row(name, cost, replayed, width) for name, cost in rows.items()), ""]


def _row(name: str, cost: Cost, replayed: bool, width: int) -> str:
    usd = dollars(cost.stored_usd if replayed else cost.paid_usd)
    cells = [cost.calls, cost.stored, cost.input, cost.cached, cost.output, cost.reasoning, usd]
    return f"{name:{width}} " + " ".join(f"{cell:>{size}}" for cell, size in zip(cells, COLUMNS, strict=True))


def _remarks(cost: RunCost) -> list[str]:
    whole = cost.total
    if cost.replayed:
        lines = ["replayed: nothing was paid; the dollars are what the replies had cost when they were made"]
    else:
        lines = [f"prompt caching saved {dollars(whole.saved_usd)}"]
        lines.append(
            f"{whole.lost} calls lost, {dollars(whole.lost_usd)} of what was paid; {whole.turned_away} turned away"
        )
        lines.append(f"{whole.stored} replies came from the store; they had cost {dollars(whole.stored_usd)}")
    if whole.estimated:
        lines.append("some tokens are estimated: a server reported none")
    return lines
