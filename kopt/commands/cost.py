"""`kopt cost`: estimate what a run's language models will cost, or print what they have cost."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING

from kopt.commands.parts.arguments import ROOT, add_settings, settings_of

if TYPE_CHECKING:
    from kopt.commands.parts.arguments import Commands


def add_parser(commands: Commands) -> None:
    """Declare the command's words."""
    parser = commands.add_parser(
        "cost", help="estimate what a run's language models will cost, or print what they have cost"
    )
    parser.add_argument("--run", type=Path, help="a run's folder: what it has cost so far")
    parser.add_argument("--json", action="store_true", help="print everything as JSON")
    parser.add_argument(
        "--slots", action="store_true", help="with --run: also by slot, diagnosis, classification and reflection"
    )
    add_settings(parser)
    parser.set_defaults(command=run)


def run(options: argparse.Namespace) -> int:
    """Print the cost of a run where one is named, else a forecast by the settings."""
    return _print_run(options) if options.run else _print_forecast(options)


def _print_run(options: argparse.Namespace) -> int:
    from kopt.commands.parts.run_cost import cost_lines, run_cost

    cost = run_cost(options.run)
    lines = cost_lines(cost, slots=options.slots)
    print(json.dumps(cost.model_dump(mode="json"), indent=1) if options.json else "\n".join(lines))
    return 0


def _print_forecast(options: argparse.Namespace) -> int:
    from kopt.commands.parts.forecast import forecast, forecast_lines
    from kopt.load_config import check_files
    from kopt.preflight.validate import model_table

    config = settings_of(options)
    table = model_table(config, ROOT)
    check_files(config, ROOT, table.models)
    forecasts = forecast(config, table)
    as_json = [row.model_dump(mode="json") for row in forecasts]
    print(json.dumps(as_json, indent=1) if options.json else "\n".join(forecast_lines(forecasts)))
    return 0
