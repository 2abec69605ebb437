"""`kopt cost`: estimate what a run's language models will cost, or print what they have cost."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from kopt.command_line.completion import runs
from kopt.command_line.panel import Panel, Place
from kopt.commands.parts.arguments import ROOT, AsJson, ConfigFile, Preset, Settings, settings_of
from kopt.commands.parts.looked_at import run_or_folder
from kopt.commands.parts.output import print_answer
from kopt.config import Config

PLACE = Place(Panel.HOUSE, 3)


def run(
    run: Annotated[
        Path | None,
        typer.Option(
            "--run",
            metavar="RUN",
            help="A run's folder, or its name below results: what it has cost so far.",
            autocompletion=runs,
        ),
    ] = None,
    slots: Annotated[
        bool, typer.Option("--slots", help="With --run: also by slot, diagnosis, classification and reflection.")
    ] = False,
    preset: Preset = None,
    configfile: ConfigFile = None,
    config: Settings = None,
    json: AsJson = False,
) -> int:
    """Tell what a run's language models will cost, or have cost.

    A forecast counts the calls of a preset or of other settings; --run adds up what a run has paid so far.

    JSON: a list of forecasts with `purpose`, `model`, `calls`, `likely_usd`, `most_usd`; with --run `total`,
    `by_model`, `by_round`, `by_slot`.

    Examples:
        kopt cost --preset beam_search_diverse
        kopt cost --run results/demo --json
    """
    if run:
        return _print_run(run_or_folder(run), slots=slots, as_json=json)
    return _print_forecast(settings_of(preset, configfile, config), as_json=json)


def _print_run(run: Path, *, slots: bool, as_json: bool) -> int:
    from kopt.commands.parts.run_cost import cost_lines, run_cost

    cost = run_cost(run)
    print_answer(cost, cost_lines(cost, slots=slots), as_json=as_json)
    return 0


def _print_forecast(config: Config, *, as_json: bool) -> int:
    from kopt.commands.parts.forecast import forecast, forecast_lines
    from kopt.load_config import check_files
    from kopt.preflight.validate import model_table

    table = model_table(config, ROOT)
    check_files(config, ROOT, table.models)
    forecasts = forecast(config, table)
    print_answer(forecasts, forecast_lines(forecasts), as_json=as_json)
    return 0
