"""What a run's language models will cost, by its settings, and what they did cost, by its ledger."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from kopt.config import Config
from kopt.errors import ConfigError
from kopt.llm.forecast import Forecast, estimate_cost, plan
from kopt.llm.ledger import Bill, Ledger
from kopt.llm.pack import pack, unpack
from kopt.llm.table import ModelTable
from kopt.stages.language import LACKING, LEDGER
from kopt.store import Store


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
    return [*lines, "", "with typical sizes of prompts and replies; `at most`: the longest reply each time, no cache"]


def bill_lines(run: Path) -> list[str]:
    """What a run has cost, by model and by round.

    Raises:
        ConfigError: the folder has no ledger.
    """
    ledger = ledger_of(run)
    lines = [f"{'':20} {'calls':>6} {'input':>10} {'cached':>10} {'output':>10} {'paid':>10} {'reused':>7}"]
    for name, bill in ledger.bills(lambda label, model: model).items():
        lines.append(_bill(name, bill))
    for name, bill in ledger.bills(lambda label, model: f"round {_round(label)}").items():
        lines.append(_bill(name, bill))
    whole = ledger.bill()
    lines.append(_bill("total", whole))
    lost = f"{whole.lost} lost calls among them, {_usd(whole.lost_dollars)}"
    return [*lines, f"{lost}; {whole.turned_away} turned away; prompt caching saved {_usd(whole.saved_dollars)}"]


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
    return (
        f"{name:20} {bill.calls:6} {usage.input:10} {usage.cached_input:10} {usage.output:10} "
        f"{_usd(bill.dollars):>10} {bill.reused:7}"
    )


def _usd(dollars: float) -> str:
    return f"${dollars:.2f}" if dollars >= 1 or dollars == 0 else f"${dollars:.4f}"


def _round(label: str) -> str:
    """The round of a label: `r12a0s3` is of round 12."""
    digits = label.removeprefix("r")
    return digits[: next((n for n, sign in enumerate(digits) if not sign.isdigit()), len(digits))].rjust(2)
