"""`kopt export`: write a run's best kernel in the form in which its user needs it."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from kopt.config import Config
from kopt.discovery import module_names

if TYPE_CHECKING:
    from kopt.commands.parts.arguments import Commands

SCRIPT = "script"
"""The form of `best_kernel.py`."""


def add_parser(commands: Commands) -> None:
    """Declare the command's words."""
    parser = commands.add_parser("export", help="write a run's best kernel as a module, an operator, a solution")
    parser.add_argument("run", type=Path, help="the run's folder")
    forms = [SCRIPT, *(name.replace("_", "-") for name in module_names("kopt.winner.targets"))]
    parser.add_argument(
        "--as",
        dest="form",
        choices=forms,
        default="module",
        help="module: a PyTorch module in place of the reference's, with PyTorch where the kernel was not verified; "
        "torch-library: a custom operator; kernelbench: ModelNew; flashinfer: a solution as JSON; script: one file "
        "that checks and times itself (default: module)",
    )
    parser.add_argument("--store", type=Path, default=Path(Config().store), help="the store that the run used")
    parser.add_argument("-o", "--output", type=Path, help="the file to write (default: PROBLEM_FORM.py)")
    parser.set_defaults(command=run)


def run(options: argparse.Namespace) -> int:
    """Write the file, whole or not at all, and print its path and what it holds."""
    from kopt.artifact import write_text
    from kopt.discovery import modules_of
    from kopt.run.load import load_run
    from kopt.store import Store
    from kopt.winner.standalone import standalone
    from kopt.winner.winner import winner_of

    winner = winner_of(load_run(options.run), Store(options.store))
    if options.form == SCRIPT:
        suffix, text = ".py", standalone(winner)
        purpose = "a script that checks and times itself"
    else:
        target = modules_of("kopt.winner.targets")[options.form.replace("-", "_")].TARGET
        suffix, text, purpose = target.suffix, target.write(winner), target.purpose
    path = options.output or Path(f"{winner.problem.name}_{options.form.replace('-', '_')}{suffix}")
    write_text(path, text)
    print(f"{path}: {purpose}")
    return 0
