"""`kopt export`: write a run's best kernel in the form in which its user needs it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from kopt.command_line.completion import export_forms, forms
from kopt.command_line.panel import Panel, Place
from kopt.commands.parts.arguments import DEFAULTS, AsJson, Force, Output, RunStore, check_output, check_replaceable
from kopt.commands.parts.looked_at import RunName, run_or_folder
from kopt.commands.parts.output import print_answer
from kopt.errors import ConfigError, nearest

PLACE = Place(Panel.USE, 1)

SCRIPT = "script"
"""The form of `best_kernel.py`."""


def run(
    run: RunName,
    form: Annotated[
        str,
        typer.Option(
            "--as",
            metavar="FORM",
            autocompletion=forms,
            help="module: a PyTorch module in place of the reference's, with PyTorch where the kernel was not "
            "verified; torch-library: a custom operator; kernelbench: ModelNew; flashinfer: a solution as JSON; "
            "script: one file that checks and times itself.",
        ),
    ] = "module",
    store: RunStore = Path(DEFAULTS.store),
    output: Output = None,
    force: Force = False,
    json: AsJson = False,
) -> int:
    """Write a run's best kernel as a module, an operator or a solution.

    The file is PROBLEM_FORM.py by default, and is written whole or not at all.  A file that kopt did not write is
    replaced with --force alone.

    JSON: `path`, `form`, `purpose`, `problem`.

    Examples:
        kopt export results/demo --as module
        kopt export results/demo --as torch-library --output my_operator.py
    """
    from kopt.artifact import write_text
    from kopt.discovery import modules_of
    from kopt.run.load import load_run
    from kopt.store import Store
    from kopt.winner.standalone import standalone
    from kopt.winner.winner import winner_of

    if form not in export_forms():
        raise ConfigError(
            f"--as {form}: there is no such form{nearest(form, export_forms())}; forms are {', '.join(export_forms())}"
        )
    check_output(output)
    if output is not None:
        check_replaceable(output, force=force)
    winner = winner_of(load_run(run_or_folder(run)), Store(store))
    if form == SCRIPT:
        suffix, text = ".py", standalone(winner)
        purpose = "a script that checks and times itself"
    else:
        target = modules_of("kopt.winner.targets")[form.replace("-", "_")].TARGET
        suffix, text = target.suffix, target.write(winner)
        purpose = target.purpose.replace("NAME", winner.identifier)
    path = output or Path(f"{winner.problem.name}_{form.replace('-', '_')}{suffix}")
    check_replaceable(path, force=force)
    write_text(path, text)
    answer = {"path": str(path), "form": form, "purpose": purpose, "problem": winner.problem.name}
    print_answer(answer, [f"{path}: {purpose}"], as_json=json)
    return 0
