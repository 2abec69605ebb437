"""What a run's language models will cost, by its settings, and what they did cost, by its ledger."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from kopt.artifact import read_value
from kopt.commands.replay import recorded
from kopt.config import Config
from kopt.errors import ConfigError
from kopt.jobs.asker import LEDGER, UNANSWERED
from kopt.jobs.ledger_costs import costs_of
from kopt.llm.forecast import TYPICAL, Calls, Forecast, estimate_cost, plan
from kopt.llm.ledger import Ledger
from kopt.llm.pack import pack, unpack
from kopt.llm.table import ModelTable
from kopt.model.base import Value
from kopt.model.cost import Cost, total
from kopt.report.costs import LabelledCost, by_model, by_round, by_round_and_purpose, by_slot, dollars
from kopt.stages.finish import Manifest
from kopt.store import Store

COLUMNS = (6, 6, 10, 10, 9, 9, 10)
"""Widths of a table's columns after the first."""


def forecast(config: Config, table: ModelTable) -> list[Forecast]:
    """The estimate for each purpose and model of a run that goes through all of its rounds."""
    others = (
        ("diagnose", config.diagnoser, config.rounds * config.candidate_pool_size),
        ("classify", config.classifier, config.rounds * config.fan_out + 1),  # the slots of all proposers, and the seed
        ("reflect", config.reflector, config.rounds),
    )
    calls = plan(
        config.language_models,
        rounds=config.rounds,
        slots_per_model=config.fan_out // len(config.proposers),
        repairs=config.max_repairs,
        others=[Calls(purpose=purpose, model=model, calls=count) for purpose, model, count in others if model],
    )
    return estimate_cost(calls, table, batch=config.delivery == "batch")


def forecast_lines(found: Sequence[Forecast]) -> list[str]:
    """A forecast for the terminal."""
    if not found:
        return ["no language model is asked: $0.00"]
    lines = [f"{'purpose':10} {'model':20} {'calls':>6} {'likely':>10} {'at most':>10}"]
    lines += [
        f"{f.purpose:10} {f.model:20} {f.calls:6} {dollars(f.likely_usd):>10} {dollars(f.most_usd):>10}" for f in found
    ]
    calls, likely, most = (sum(getattr(f, name) for f in found) for name in ("calls", "likely_usd", "most_usd"))
    lines.append(f"{'total':31} {calls:6} {dollars(likely):>10} {dollars(most):>10}")
    return [*lines, "", *_assumed(found)]


def _assumed(found: Sequence[Forecast]) -> list[str]:
    """What a forecast rests on, which nobody has measured."""
    purposes = dict.fromkeys(one.purpose for one in found)
    sizes = (f"{name} {TYPICAL[name].input} in, {TYPICAL[name].output} out" for name in purposes)
    return [
        "`likely` assumes these tokens of a call, which are guesses and not measured (replies no longer than a model's "
        "max_output_tokens): " + "; ".join(sizes),
        "`at most`: every slot repaired each time, every reply the longest and continued, nothing from a cache, "
        "the same input. Calls that are lost and made again are not in it: the bound is budget_usd.",
        "Prices are those of the run's models_file, not checked against the providers' pages: see docs/models.md",
    ]


class RunCost(Value):
    """All that is known of what a run's replies cost."""

    run: str
    replayed: bool
    """Nothing was paid: every reply came from the store."""
    total: Cost
    by_model: dict[str, Cost]
    by_round: dict[int, Cost]
    by_round_and_purpose: dict[str, Cost]
    """Keys such as `1 propose`."""
    by_slot: dict[str, Cost]
    """Keys such as `r1s3`, repairs included."""
    labels: tuple[LabelledCost, ...]
    """What was asked, one by one."""


def run_cost(run: Path) -> RunCost:
    """What the replies of a run cost, by the ledger in its folder.

    Raises:
        ConfigError: the run asked no language model.
    """
    labels = costs_of(ledger_of(run).lines())
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
    """What a run's replies cost, for the terminal; with `slots` also by slot, and by each other thing asked."""
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


def ledger_of(run: Path) -> Ledger:
    """The ledger of a run's folder.

    Raises:
        ConfigError: there is none.
    """
    if not (run / LEDGER).is_file():
        raise ConfigError(f"{run} has no {LEDGER}: name the folder of a run that asked language models")
    ledger = Ledger(run / LEDGER)
    ledger.refresh()
    return ledger


def pack_run(run: Path, store: Store, archive: Path, root: Path = Path()) -> int:
    """Write a run's replies, and the reasons why others are missing, into an archive; return the number of replies.

    A run that has ended tells what it was made from and with, too, so that the archive is all that a replay needs.

    Args:
        run: the run's folder.
        store: the store that it used.
        archive: the file to write.
        root: the project's root, below which the run's problem lies.

    Raises:
        ConfigError: the folder has no ledger, or the store has none of its replies.
    """
    unanswered = (run / UNANSWERED).read_text().split() if (run / UNANSWERED).exists() else []
    requests = {*unanswered, *(line.request for line in ledger_of(run).lines())}
    manifest = run / "manifest.json"
    told = read_value(manifest, Manifest) if manifest.exists() else None
    recording = recorded(run, told, root) if told else None
    count = pack(store, requests, archive, told.versions if told else None, recording)
    if not count:
        raise ConfigError(f"the store {store.root} has no reply of {run}: name the store that the run used")
    return count


def unpack_run(archive: Path, store: Store) -> int:
    """Put an archive's replies into a store; returns how many there are.

    Raises:
        CorruptArtifact: it is no such archive.
    """
    return unpack(archive, store)


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
