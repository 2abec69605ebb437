"""What a run's language models will cost, by its settings, and what they did cost, by its ledger."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from kopt.config import Config
from kopt.errors import ConfigError
from kopt.llm.forecast import TYPICAL, Forecast, estimate_cost, plan
from kopt.llm.ledger import Bill, Ledger
from kopt.llm.pack import pack, unpack
from kopt.llm.table import ModelTable
from kopt.stages.language import LACKING, LEDGER
from kopt.store import Store

COLUMNS: Mapping[str, int] = {
    "": 20, "calls": 7, "input": 11, "cached": 11, "output": 11, "reasoning": 11, "paid": 11, "saved": 11, "reused": 8,
}  # fmt: skip
"""Heads and widths of a bill's columns."""

LABEL = re.compile(r"r(?P<round>\d+)(?:a\d+s(?P<slot>\d+)|(?P<what>[dc])\d+|reflect)")
"""What the stages call what they ask: a slot's attempt, a parent's diagnosis, a kernel's techniques, a reflection."""


def forecast(config: Config, table: ModelTable) -> list[Forecast]:
    """The estimate for each purpose and model of a run that goes through all of its rounds."""
    calls = plan(
        config.language_models,
        rounds=config.rounds,
        slots_per_model=config.fan_out // len(config.proposers),
        parents=config.candidate_pool_size,
        repairs=config.max_repairs,
        diagnose=config.diagnoser or None,
        classify=config.classifier or None,
        reflect=config.reflector or None,
    )
    return estimate_cost(calls, table, batch=config.delivery == "batch")


def forecast_lines(found: Sequence[Forecast]) -> list[str]:
    """A forecast for the terminal."""
    if not found:
        return ["no language model is asked: $0.00"]
    lines = [f"{'purpose':10} {'model':20} {'calls':>6} {'likely':>10} {'at most':>10}"]
    lines += [f"{f.purpose:10} {f.model:20} {f.calls:6} {_usd(f.likely_usd):>10} {_usd(f.most_usd):>10}" for f in found]
    calls, likely, most = (sum(getattr(f, name) for f in found) for name in ("calls", "likely_usd", "most_usd"))
    lines.append(f"{'total':31} {calls:6} {_usd(likely):>10} {_usd(most):>10}")
    return [*lines, "", *_assumed(found)]


def _assumed(found: Sequence[Forecast]) -> list[str]:
    """What a forecast rests on, which nobody has measured."""
    purposes = dict.fromkeys(one.purpose for one in found)
    sizes = (f"{name} {TYPICAL[name].input} in, {TYPICAL[name].output} out" for name in purposes)
    return [
        "`likely` assumes these tokens of a call, which are guesses and not measured: " + "; ".join(sizes),
        "`at most`: the same input, the longest reply each time, no cache. Prices are those of config/models.yaml,",
        "which nobody has checked against the providers' pages: see docs/models.md",
    ]


def bill_lines(run: Path, *, slots: bool = False) -> list[str]:
    """What a run has cost, by model and by round; with `slots` also by slot, and by each other thing asked.

    Raises:
        ConfigError: the folder has no ledger.
    """
    ledger = ledger_of(run)
    groups = [ledger.bills(lambda label, model: model), ledger.bills(lambda label, model: f"round {_round(label)}")]
    if slots:
        groups.append(ledger.bills(lambda label, model: _place(label)))
    lines = ["".join(f"{name:>{width}}" for name, width in COLUMNS.items())]
    lines += [_bill(name, bill) for group in groups for name, bill in group.items()]
    whole = ledger.bill()
    lines.append(_bill("total", whole))
    return [*lines, "", *_remarks(whole)]


def _remarks(whole: Bill) -> list[str]:
    """What the columns do not tell."""
    saved, guessed = whole.saved_dollars, whole.usage.estimated
    effect = f"prompt caching {'saved' if saved >= 0 else 'cost'} {_usd(abs(saved))}"
    told = [f"{effect}; cached input is part of the input, reasoning of the output"]
    if whole.lost:
        told.append(f"{whole.lost} calls brought no reply: {_usd(whole.lost_dollars)} of the total, estimated")
    if whole.turned_away:
        told.append(f"{whole.turned_away} calls were turned away by their server, at no cost")
    if whole.reused:
        told.append(f"{whole.reused} replies were known and cost nothing; they had cost {_usd(whole.reused_dollars)}")
    return told + (["some servers told no tokens: those were estimated from the texts"] if guessed else [])


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


def pack_run(run: Path, store: Store, archive: Path) -> int:
    """Write the replies of a run, and why others are lacking, into an archive; returns how many replies there are.

    Raises:
        ConfigError: the folder has no ledger, or the store has none of its replies.
    """
    lacking = (run / LACKING).read_text().split() if (run / LACKING).exists() else []
    count = pack(store, {*lacking, *(line.request for line in ledger_of(run).lines())}, archive)
    if not count:
        raise ConfigError(f"the store {store.root} has no reply of {run}: name the store that the run used")
    return count


def unpack_run(archive: Path, store: Store) -> int:
    """Put an archive's replies into a store; returns how many there are.

    Raises:
        CorruptArtifact: it is no such archive.
    """
    return unpack(archive, store)


def _bill(name: str, bill: Bill) -> str:
    usage = bill.usage
    given = usage.input + usage.cached_input + usage.cache_write
    tokens = (given, usage.cached_input, usage.output, usage.reasoning)
    cells = (bill.calls, *tokens, _usd(bill.dollars), _usd(bill.saved_dollars), bill.reused)
    widths = list(COLUMNS.values())[1:]
    return f"{name:20}" + "".join(f"{cell:>{width}}" for cell, width in zip(cells, widths, strict=True))


def _place(label: str) -> str:
    """What a call was for: `r1a2s13` for slot 13 of round 1, all of a slot's attempts together."""
    match = LABEL.fullmatch(label)
    if match is None:
        return label
    if match["slot"]:
        return f"round {match['round']:>2} slot {match['slot']:>3}"
    what = {"d": "diagnosis", "c": "techniques"}.get(match["what"], "reflection")
    return f"round {match['round']:>2} {what}"


def _usd(dollars: float) -> str:
    sign = "-" if dollars < 0 else ""
    return f"{sign}${abs(dollars):.{2 if abs(dollars) >= 1 or dollars == 0 else 4}f}"


def _round(label: str) -> str:
    """The round of a label: `r12a0s3` is of round 12."""
    match = LABEL.fullmatch(label)
    return match["round"].rjust(2) if match else "?"
