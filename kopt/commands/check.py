"""`kopt check`: check whether a problem can be judged, and estimate what judging costs."""

from __future__ import annotations

from kopt.command_line.panel import Panel, Place
from kopt.commands.parts.arguments import DEFAULTS, ROOT, AsJson, DeviceName, ProblemName
from kopt.commands.parts.output import print_answer
from kopt.config import Config
from kopt.errors import ProblemError
from kopt.load_config import load_device

PLACE = Place(Panel.BRING, 2)


def run(problem: ProblemName, device: DeviceName = DEFAULTS.device, json: AsJson = False) -> int:
    """Check whether a problem can be judged, and what that costs.

    Print a line for each requirement; the status is 1 where the problem cannot be judged.

    JSON: `lines` with `name`, `state` (`ok`, `fails`, `note`) and `text`; and `judgeable`.

    Examples:
        kopt check softmax
        kopt check ./my_problem --json
    """
    from kopt.commands.parts.problem_check import CHECK_S, Report, examined, failed_to_load, in_words, with_files
    from kopt.problem import folder
    from kopt.problem.caged import caged

    target = load_device(device, ROOT)
    place = folder.find(problem, ROOT / Config().problems)
    files = folder.files(place) if place.exists() else ()
    try:
        loaded = folder.load(place)
        report = with_files(
            caged(loaded.name, CHECK_S, Report, examined, loaded, target, folder.reference_file(place)), files
        )
    except ProblemError as error:
        if not files:
            raise
        report = failed_to_load(error)
    answer = report.model_dump() | {"judgeable": report.judgeable}
    print_answer(answer, in_words(report, place.stem), as_json=json)
    return 0 if report.judgeable else 1
