"""`kopt show`: what is known of a run, or of one kernel."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from kopt.command_line import completion
from kopt.command_line.panel import Panel, Place
from kopt.commands.parts.arguments import AsJson
from kopt.commands.parts.looked_at import FileProblem, OwnStore, is_file, looker, opened, store_of
from kopt.commands.parts.output import print_answer, print_code
from kopt.errors import ConfigError

if TYPE_CHECKING:
    from kopt.view.asked import Asked
    from kopt.view.kernel import KernelView

PLACE = Place(Panel.LOOK, 2)


def run(
    run: Annotated[
        Path,
        typer.Argument(
            metavar="RUN",
            help="The run's folder, its name below results, or a kernel's file.",
            autocompletion=completion.runs,
        ),
    ],
    kernel: Annotated[
        str | None,
        typer.Argument(
            metavar="KERNEL", help="A kernel of the run: best, seed, a name (r1a0s2), or the begin of a digest."
        ),
    ] = None,
    source: Annotated[bool, typer.Option("--source", help="Print the kernel's source, too.")] = False,
    prompt: Annotated[bool, typer.Option("--prompt", help="Print the prompt that the kernel came from, too.")] = False,
    reply: Annotated[bool, typer.Option("--reply", help="Print the model's reply that it came from, too.")] = False,
    problem: FileProblem = None,
    store: OwnStore = None,
    json: AsJson = False,
) -> int:
    """Show a run, or one kernel of it, or a kernel in a file.

    A run: its best kernel, how it came about, times, what was verified, rounds, failures.  A kernel: source, parents,
    techniques, verdict, launches, registers, time, and the prompt and reply that it came from.

    A search that a later start of the run has replaced is RUN/earlier_1.

    JSON: of a run `status` as of kopt status, `figures` as in final.json, `limits`, `best`, `lineage`, `rounds`,
    `failures`; of a kernel `source`, `facts`, `trial`, `launches`, `instructions`, `techniques`, `verdict`, `times`,
    ... and `asked`.

    Examples:
        kopt show demo
        kopt show demo best --source
        kopt show demo r1a0s2 --prompt --reply
        kopt show my_kernel.py --problem softmax
        kopt show results/demo/best_kernel.py
    """
    if kernel is None and not is_file(str(run)):
        if source or prompt or reply:
            raise ConfigError("--source, --prompt and --reply are about one kernel: name it, e.g. best")
        return _show_run(run, store, json)
    if is_file(str(run)) and (kernel or prompt or reply):
        raise ConfigError(f"{run} is a file, which no run knows: leave out {kernel or '--prompt and --reply'}")
    view, asked = _kernel(run, kernel, problem, store)
    if json:
        print_answer(view.model_dump() | {"asked": asked}, [], as_json=True)
        return 0
    _print(view, asked, source=source, prompt=prompt, reply=reply)
    return 0


def _show_run(word: Path, store: Path | None, json: bool) -> int:
    from kopt.view.run import view_of_run
    from kopt.view.run_lines import run_lines

    found = opened(word)
    view = view_of_run(found, store_of(found, store))
    print_answer(view, run_lines(view), as_json=json)
    return 0


def _kernel(word: Path, kernel: str | None, problem: str | None, store: Path | None) -> tuple[KernelView, Asked | None]:
    if kernel is None:
        with looker(None, store, problem) as look:
            return look.view_of_file(word), None
    from kopt.view.asked import asked_for

    found = opened(word)
    with looker(found, store, problem) as look:
        view = look.view(kernel)
    return view, asked_for(view.name, found, store_of(found, store)) if view.name else None


def _print(view: KernelView, asked: Asked | None, *, source: bool, prompt: bool, reply: bool) -> None:
    from kopt.view.kernel_lines import asked_lines, kernel_lines

    print("\n".join([*kernel_lines(view), *asked_lines(asked)]))
    if source:
        print("\n--- source")
        print_code(view.source, "python")
    for wanted, name, text in (
        (prompt, "prompt", asked.prompt if asked else ""),
        (reply, "reply", asked.reply if asked else ""),
    ):
        if wanted:
            print(f"\n--- {name}")
            print_code(text or f"there is no {name} to show", "text")
