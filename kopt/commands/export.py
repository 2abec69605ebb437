"""`kopt export`: write a run's best kernel in the form in which its user needs it."""

from __future__ import annotations

import shlex
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from kopt.command_line.completion import export_forms, forms
from kopt.command_line.panel import Panel, Place
from kopt.commands.parts.arguments import (
    AsJson,
    Force,
    Output,
    RunStore,
    check_output,
    file_text,
    write_output,
)
from kopt.commands.parts.looked_at import RunName, run_or_folder, store_used
from kopt.commands.parts.output import print_answer
from kopt.errors import ConfigError, ProblemError, nearest_and

if TYPE_CHECKING:
    from kopt.winner.simplified import SimplifiedKernel

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
            "verified; torch-library: a custom operator; kernelbench: ModelNew; flashinfer, sol-execbench: a solution "
            "as JSON; script: one file that checks and times itself.",
        ),
    ] = "module",
    kernel: Annotated[
        Path | None,
        typer.Option(
            "--kernel", metavar="FILE", help="A file that kopt simplify wrote of this run, in place of the best kernel."
        ),
    ] = None,
    store: RunStore = None,
    output: Output = None,
    force: Force = False,
    json: AsJson = False,
) -> int:
    """Write a run's best kernel as a module, an operator or a solution.

    The file is PROBLEM_FORM.py by default, and is written whole or not at all.  A file that is there is replaced with
    --force alone.  A search that a later start of the run has replaced is RUN/earlier_1.

    Print for which dtypes, dimensions, sizes and strides the kernel runs, and what happens for others; modules and
    operators say the same in their head, and check their kernel as a script: python FILE, also without a GPU.

    JSON: `path`, `form`, `purpose`, `problem`, `kernel`, its name, and `limits`, the lines on what it runs for.

    Examples:
        kopt export results/demo --as module
        kopt export results/demo --as torch-library --output my_operator.py
        kopt export results/demo --kernel results/demo/simplified.py
    """
    from kopt.discovery import modules_of
    from kopt.run.load import load_run
    from kopt.store import Store
    from kopt.winner.constants import made_with
    from kopt.winner.limits import limits
    from kopt.winner.simplified import as_winner
    from kopt.winner.standalone import standalone
    from kopt.winner.winner import winner_of

    if form not in export_forms():
        known = f"forms are {', '.join(export_forms())}"
        raise ConfigError(f"--as {form}: there is no such form{nearest_and(form, export_forms(), known)}")
    check_output(output, force=force)
    folder = run_or_folder(run)
    simplified = judged(kernel, folder) if kernel is not None else None
    winner = winner_of(load_run(folder), Store(store_used(folder, store)))
    if simplified is not None:
        winner = as_winner(winner, simplified)
    if winner.judge == "dry" and form != SCRIPT:
        raise ConfigError(
            f"{folder} was a rehearsal (judge=dry), and nothing of it was built or judged: there is nothing to export; "
            "search with judge=interpret or judge=cuda"
        )
    if form == SCRIPT:
        suffix, text, guarded, asks_model, facts = ".py", standalone(winner), False, True, []
        purpose = "a script that checks and times itself"
    else:
        target = modules_of("kopt.winner.targets")[form.replace("-", "_")].TARGET
        suffix, text, guarded = target.suffix, target.write(winner), target.guarded
        asks_model, facts = target.asks_model, list(target.facts)
        purpose = target.purpose.replace("NAME", winner.identifier)
    path = output or Path(f"{winner.problem.name}_{form.replace('-', '_')}{suffix}")
    write_output(path, text, force=force)
    told = []
    if winner.given:
        with suppress(ProblemError):  # workloads of unlike kinds, which no form with guards can have
            source = winner.source if asks_model else ""
            told = limits(made_with(winner.problem, winner.given, winner.others, source), guarded=guarded) + facts
    answer = {
        "path": str(path), "form": form, "purpose": purpose, "problem": winner.problem.name, "kernel": winner.name,
        "limits": [" ".join(line).strip() for line in told],
    }  # fmt: skip
    print_answer(answer, [f"{path}: {purpose}", *(f"{name:<10} {line}" for name, line in told)], as_json=json)
    return 0


def judged(file: Path, run: Path) -> SimplifiedKernel:
    """Return the kernel in a file, which `kopt simplify` has judged and written of a run.

    Raises:
        ConfigError: there is no such file, kopt simplify did not write it of this run, or it was changed since.
    """
    from kopt.winner.simplified import kept

    found = kept(file_text(file), run)
    if found is None:
        raise ConfigError(
            f"--kernel {file}: this text was not judged: kopt simplify did not write it of {run}, or it was changed "
            f"since; kopt simplify {shlex.quote(str(run))} judges and writes one"
        )
    return found
