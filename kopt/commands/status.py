"""`kopt status`: how far a run is."""

from __future__ import annotations

from kopt.command_line.panel import Panel, Place
from kopt.commands.parts.arguments import AsJson
from kopt.commands.parts.looked_at import RunName, opened
from kopt.commands.parts.output import print_answer

PLACE = Place(Panel.LOOK, 1)


def run(run: RunName, json: AsJson = False) -> int:
    """Say how far a run is: round and phase, counts, best kernel so far, money, time, what to type to go on.

    Reads files alone, waits for nothing, and works while the search goes on, also on a cluster.

    JSON: `state` (`going on`, `stopped`, `failed`, `finished`), `round`, `rounds`, `phase`, `counts` by round, `best`,
    `baselines`, `cost`, `seconds`, `error`, `command` to go on, and more.

    Examples:
        kopt status demo
        kopt status results/demo --json
    """
    from kopt.report.status_lines import status_lines
    from kopt.run.status import status_of

    status = status_of(opened(run))
    print_answer(status, status_lines(status), as_json=json)
    return 0
