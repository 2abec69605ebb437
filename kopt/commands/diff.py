"""`kopt diff`: what differs between two kernels."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from kopt.command_line import completion
from kopt.command_line.panel import Panel, Place
from kopt.commands.parts.arguments import AsJson
from kopt.commands.parts.looked_at import FileProblem, OwnStore, looker, opened
from kopt.commands.parts.output import print_answer, print_code

PLACE = Place(Panel.LOOK, 3)

KERNEL = "A kernel's file, RUN:KERNEL, or with --run a kernel: best, seed, a name (r1a0s2), the begin of a digest."


def run(
    before: Annotated[str, typer.Argument(metavar="A", help=KERNEL)],
    after: Annotated[str, typer.Argument(metavar="B", help="Another kernel, named in the same way.")],
    run: Annotated[
        Path | None,
        typer.Option(
            "--run", metavar="RUN", help="The run of kernels named without one.", autocompletion=completion.runs
        ),
    ] = None,
    problem: FileProblem = None,
    store: OwnStore = None,
    json: AsJson = False,
) -> int:
    """Compare two kernels: source, launches, registers, PTX instructions, techniques, times.

    Of kernels of two problems that is said first, and only sources and techniques are compared.

    JSON: `before` and `after` as of kopt show, `apart` (empty for one problem), `diff`, `launches`, `instructions`,
    `added`, `removed`, `times`.

    Examples:
        kopt diff seed best --run demo
        kopt diff demo:best second:best
        kopt diff mine.py demo:best
        kopt diff mine.py other.py --problem softmax
    """
    from kopt.view.compare import difference
    from kopt.view.difference_lines import apart_line, difference_lines

    with looker(opened(run) if run else None, store, problem) as look:
        lookers = (look.compared_with(after), before), (look.compared_with(before), after)
        first, second = (one.view(word) for one, word in lookers)
        problem_before, problem_after = (one.problem_of(word) for one, word in lookers)
    found = difference(first, second, (problem_before, problem_after))
    if json:
        print_answer(found, [], as_json=True)
        return 0
    if line := apart_line(found):
        print(f"{line}\n", flush=True)
    if found.diff:
        print_code(found.diff, "diff")
        print()
    print("\n".join(difference_lines(found)))
    return 0
