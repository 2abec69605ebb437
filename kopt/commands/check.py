"""`kopt check`: check whether a problem can be judged, and estimate what judging costs."""

from __future__ import annotations

import argparse
import json
from typing import TYPE_CHECKING

from kopt.commands.parts.arguments import ROOT
from kopt.config import Config
from kopt.errors import ProblemError
from kopt.load_config import load_device

if TYPE_CHECKING:
    from kopt.commands.parts.arguments import Commands


def add_parser(commands: Commands) -> None:
    """Declare the command's words."""
    parser = commands.add_parser("check", help="check whether a problem can be judged, and what judging costs")
    parser.add_argument("problem", help="name of a problem, its folder, or a file of another format")
    parser.add_argument(
        "--device", default=Config().device, help="GPU to estimate for: name in config/devices, or file"
    )
    parser.add_argument("--json", action="store_true", help="print everything as JSON")
    parser.set_defaults(command=run)


def run(options: argparse.Namespace) -> int:
    """Print a line for each requirement; the status is 1 when the problem cannot be judged."""
    from kopt.commands.parts.problem_check import CHECK_S, Report, examined, failed_to_load, in_words, with_files
    from kopt.problem import folder
    from kopt.problem.caged import caged

    device = load_device(options.device, ROOT)
    place = folder.find(options.problem, ROOT / Config().problems)
    files = folder.files(place) if place.exists() else ()
    try:
        problem = folder.load(place)
        report = with_files(caged(problem.name, CHECK_S, Report, examined, problem, device, options.problem), files)
    except ProblemError as error:
        if not files:
            raise
        report = failed_to_load(error)
    if options.json:
        print(json.dumps(report.model_dump(mode="json") | {"judgeable": report.judgeable}, indent=1))
    else:
        print("\n".join(in_words(report, place.stem)))
    return 0 if report.judgeable else 1
