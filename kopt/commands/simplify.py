"""`kopt simplify`: undo the steps of a kernel's lineage that do not pay."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import Annotated

import typer

from kopt.command_line.numbers import count
from kopt.command_line.panel import Panel, Place
from kopt.commands.parts.arguments import (
    DEFAULTS,
    AsJson,
    Force,
    JudgeName,
    Seed,
    Wait,
    check_output,
    uses_gpu,
    write_output,
)
from kopt.commands.parts.looked_at import OwnStore, RunName, opened, store_of
from kopt.commands.parts.output import print_answer
from kopt.errors import ConfigError
from kopt.store import Store

PLACE = Place(Panel.USE, 2)

SIMPLIFIED = "simplified.py"
"""Name of the file in the run's folder."""


def run(
    run: RunName,
    kernel: Annotated[
        str, typer.Argument(metavar="KERNEL", help="A kernel of the run: best, a name, the begin of a digest.")
    ] = "best",
    trials: Annotated[
        int, typer.Option("--trials", metavar="NUMBER", parser=count, help="Most simplifications that are judged.")
    ] = 60,
    judge: JudgeName = "auto",
    seed: Seed = 0,
    wait: Wait = 600.0,
    repeat: Annotated[
        int, typer.Option("--repeat", metavar="NUMBER", parser=count, help="Timed calls on a GPU.")
    ] = DEFAULTS.benchmark_repeat,
    store: OwnStore = None,
    output: Annotated[
        Path | None,
        typer.Option("-o", "--output", metavar="FILE", help="The file to write; default: RUN/simplified.py."),
    ] = None,
    force: Force = False,
    json: AsJson = False,
) -> int:
    """Simplify a run's best kernel, so that it is short enough to review.

    Each step from the seed kernel is undone, as a whole or in parts, and stays undone where the kernel is then judged
    right and is not slower: on a GPU by the interval of the ratio to the kernel as it was, without one by the estimate.
    Then go parameters, functions, imports and variables that nothing uses, and comments written for other code.
    kopt export --kernel FILE exports the file that is written.

    JSON: `path` of the file (empty where nothing could be simplified), `source`, `lines`, `simplified_lines`,
    `before_ms`, `after_ms`, `ratio`, `estimated`, `untried`, and `trials`; a line for each trial goes to stderr.

    Examples:
        kopt simplify demo
        kopt simplify demo r2a0s1 --trials 20 --output short.py
    """
    from kopt.commands.parts.one_kernel import request_for
    from kopt.commands.parts.simplification import (
        Bench,
        answer_of,
        lineage_of,
        result_lines,
        simplified,
        simplified_kernel,
    )
    from kopt.view.of_run import trial_named
    from kopt.winner.simplified import keep
    from kopt.winner.winner import winner_of

    found = opened(run)
    file = output or found.folder / SIMPLIFIED
    check_output(file, force=force)
    kept, candidate = store_of(found, store), trial_named(kernel, found)
    if found.problem is None or found.device is None or found.run is None:
        raise ConfigError(f"the run {found.folder} has not judged its seed kernel yet: wait for its first round")
    if candidate.round == 0:
        raise ConfigError("the kernel is a seed kernel, which has no step to undo")
    lineage = lineage_of(candidate, found, kept)
    on_gpu = uses_gpu(judge)
    if not on_gpu and found.settings.measures:
        print("kopt: note: the run measured its times on a GPU; here they are estimated", file=sys.stderr)
    with tempfile.TemporaryDirectory(prefix="kopt-") as scratch:
        request = request_for(lineage[-1].source, found.problem, seed=seed, wait_s=wait, repeat=repeat)
        bench = Bench(request, found.device, Store(Path(scratch).resolve()), on_gpu)
        result = simplified(bench, lineage, most=trials, say=lambda line: _say(line, json))
    _, shorter, after = result
    path = None
    if shorter.source != lineage[-1].source:
        path = file
        text = keep(winner_of(found.run, kept), simplified_kernel(found, candidate, shorter, after), found.folder)
        write_output(path, text, force=force)
    answer = answer_of(found, candidate, path, result, lineage[-1].source)
    print_answer(answer, result_lines(answer), as_json=json)
    return 0


def _say(line: str, json: bool) -> None:
    """Print a line for each trial when it has ended; where a program reads the answer, to stderr."""
    print(line, file=sys.stderr if json else sys.stdout, flush=True)
