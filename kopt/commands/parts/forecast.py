"""Estimate the cost of a run's language models from the run's settings."""

from __future__ import annotations

from collections.abc import Sequence

from kopt.config import Config
from kopt.llm.forecast import TYPICAL, Calls, Forecast, estimate_cost, plan
from kopt.llm.table import ModelTable
from kopt.report.costs import dollars
from kopt.run_settings import RunSettings


def forecast(config: Config, table: ModelTable) -> list[Forecast]:
    """Estimate, for each purpose and model, the cost of a run that goes through all of its rounds."""
    settings = RunSettings(config)
    others = (
        ("diagnose", settings.diagnoser, config.rounds * config.candidate_pool_size),
        ("classify", settings.classifier, config.rounds * settings.fan_out + 1),  # slots of all proposers, and the seed
        ("reflect", settings.reflector, config.rounds),
    )
    calls = plan(
        settings.language_models,
        rounds=config.rounds,
        slots_per_model=settings.fan_out // len(settings.proposers),
        repairs=config.max_repairs,
        others=[Calls(purpose=purpose, model=model, calls=count) for purpose, model, count in others if model],
    )
    return estimate_cost(calls, table, batch=config.delivery == "batch")


def forecast_lines(forecasts: Sequence[Forecast]) -> list[str]:
    """Describe a forecast for the terminal."""
    if not forecasts:
        return ["no language model is asked: $0.00"]
    lines = [f"{'purpose':10} {'model':20} {'calls':>6} {'likely':>10} {'at most':>10}"]
    lines += [
        f"{f.purpose:10} {f.model:20} {f.calls:6} {dollars(f.likely_usd):>10} {dollars(f.most_usd):>10}"
        for f in forecasts
    ]
    calls, likely, most = (sum(getattr(f, name) for f in forecasts) for name in ("calls", "likely_usd", "most_usd"))
    lines.append(f"{'total':31} {calls:6} {dollars(likely):>10} {dollars(most):>10}")
    return [*lines, "", *_assumed(forecasts)]


def _assumed(forecasts: Sequence[Forecast]) -> list[str]:
    """List the assumptions of a forecast, none of them measured."""
    purposes = dict.fromkeys(forecast.purpose for forecast in forecasts)
    sizes = (f"{name} {TYPICAL[name].input} in, {TYPICAL[name].output} out" for name in purposes)
    return [
        "`likely` assumes these tokens of a call, which are guesses and not measured (replies no longer than a model's "
        "max_output_tokens): " + "; ".join(sizes),
        "`at most`: every slot repaired each time, every reply the longest and continued, nothing from a cache, "
        "the same input. Calls that are lost and made again are not in it: the bound is budget_usd.",
        "Prices are those of the run's models_file, not checked against the providers' pages: see docs/models.md",
    ]
