"""`kopt evaluate`: build, verify and time one kernel, as a search does."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Annotated

import typer

from kopt.command_line.numbers import count
from kopt.command_line.panel import Panel, Place
from kopt.commands.parts.arguments import (
    DEFAULTS,
    AsJson,
    GpuOrEstimate,
    JudgeName,
    KeepStore,
    KernelFile,
    ProblemOption,
    Seed,
    Wait,
    check_judge,
    check_store,
    kernel_text,
    problem_of,
)
from kopt.commands.parts.output import print_answer
from kopt.store import Store

PLACE = Place(Panel.PROVE, 1)


def run(
    file: KernelFile,
    problem: ProblemOption,
    device: GpuOrEstimate = None,
    store: KeepStore = None,
    judge: JudgeName = "auto",
    seed: Seed = 0,
    wait: Wait = 600.0,
    repeat: Annotated[
        int, typer.Option("--repeat", metavar="NUMBER", parser=count, help="Timed calls on a GPU.")
    ] = DEFAULTS.benchmark_repeat,
    json: AsJson = False,
) -> int:
    """Build, verify and time one kernel, as a search does.

    The time is measured on a GPU; on a machine without a GPU it is estimated.  The status is 1 if the kernel fails.

    JSON: `status` (`passed`, `incorrect`, `failed`), `phase`, `reason`, `checks`, and `time` with `kind`, `ms`,
    `ratio` to the seed kernel and `workloads`.

    Examples:
        kopt evaluate kernel.py --problem softmax
        kopt evaluate kernel.py --problem ./my_problem --judge interpret --json
    """
    from kopt.commands.parts.evaluation import in_words
    from kopt.commands.parts.one_kernel import evaluate, request_for

    found = problem_of(problem)
    check_store(store)
    check_judge(judge)
    request = request_for(kernel_text(file), found, seed=seed, wait_s=wait, repeat=repeat)
    with tempfile.TemporaryDirectory(prefix="kopt-") as scratch:
        evaluated = evaluate(request, judge, device, Store((store or Path(scratch)).resolve()))
    print_answer(evaluated, [in_words(evaluated, has_seed=found.has_seed)], as_json=json)
    return 0 if evaluated.status == "passed" else 1
