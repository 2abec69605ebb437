"""`kopt status`: how far a run is, or all runs are."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from kopt.command_line import completion
from kopt.command_line.panel import Panel, Place
from kopt.commands.parts.arguments import DEFAULTS, AsJson
from kopt.commands.parts.looked_at import opened, run_folders
from kopt.commands.parts.output import print_answer
from kopt.errors import ConfigError

PLACE = Place(Panel.LOOK, 1)


def run(
    run: Annotated[
        Path | None,
        typer.Argument(
            metavar="RUN", help="The run's folder, or its name below results.", autocompletion=completion.runs
        ),
    ] = None,
    json: AsJson = False,
) -> int:
    """Say how far a run is: round and phase, counts, best kernel so far, money, time, what to type to go on.

    Reads files alone, waits for nothing, and works while the search goes on, also on a cluster.  Without RUN: a line
    for each run in the folder results.

    JSON: `state` (`going on`, `stopped`, `failed`, `finished`), `round`, `rounds`, `phase`, `counts` by round, `best`,
    `baselines`, `cost`, `seconds`, `error`, `command` to go on, and more; without RUN a list of these.

    Examples:
        kopt status
        kopt status demo
        kopt status results/demo --json
    """
    from kopt.report.status_lines import overview_line, status_lines
    from kopt.run.status import status_of

    if run is not None:
        status = status_of(opened(run))
        print_answer(status, status_lines(status), as_json=json)
        return 0
    statuses = [status_of(opened(folder)) for folder in run_folders()]
    if not statuses and not json:
        raise ConfigError(f"{DEFAULTS.results} holds no run here: start one with kopt run PROBLEM, or name its folder")
    print_answer(statuses, map(overview_line, statuses), as_json=json)
    return 0
