"""`kopt seed`: make a seed kernel from a problem's reference."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from kopt.command_line.numbers import count, seconds
from kopt.command_line.panel import Panel, Place
from kopt.commands.parts.arguments import (
    DEFAULTS,
    ROOT,
    AsJson,
    Force,
    GpuOrEstimate,
    JudgeName,
    KeepStore,
    Output,
    ProblemName,
    Seed,
    Wait,
    check_output,
    check_store,
    problem_of,
    write_output,
)
from kopt.commands.parts.output import print_answer
from kopt.errors import SeedError
from kopt.load_config import load_device
from kopt.store import Store

if TYPE_CHECKING:
    from kopt.commands.parts.evaluation import Evaluated

PLACE = Place(Panel.BRING, 3)


def run(
    problem: ProblemName,
    output: Output = None,
    variants: Annotated[
        int,
        typer.Option(
            "--variants",
            metavar="NUMBER",
            parser=count,
            help="Configurations to try; the fastest right one is kept.",
        ),
    ] = 1,
    device: GpuOrEstimate = None,
    limit: Annotated[
        float,
        typer.Option("--limit", metavar="SECONDS", parser=seconds, help="Longest time to make the variants, s."),
    ] = 300.0,
    store: KeepStore = None,
    judge: JudgeName = "auto",
    seed: Seed = 0,
    wait: Wait = 600.0,
    force: Force = False,
    json: AsJson = False,
) -> int:
    """Make a seed kernel from a problem's reference, and judge it.

    Write the fastest right one into a file, or print it; the status is 1 where none is right.

    JSON: `problem`, `made_by`, `tried`, `evaluated` as of kopt evaluate, `source` (null where none is right) and
    `file`.

    Examples:
        kopt seed softmax
        kopt seed ./my_problem --variants 3 --out my_problem/kernel.py
    """
    from kopt.commands.parts.evaluation import in_words
    from kopt.commands.parts.one_kernel import evaluate, request_for
    from kopt.jobs.made_seed import seeds_of

    found = problem_of(problem)
    check_store(store)
    check_output(output, force=force)
    target = load_device(device or DEFAULTS.device, ROOT)
    try:
        seeds = seeds_of(found, target, variants=variants, limit_s=limit)
    except SeedError as error:
        raise SeedError(f"no seed: {error}") from error
    with tempfile.TemporaryDirectory(prefix="kopt-") as scratch:
        kept = Store((store or Path(scratch)).resolve())
        judged = [
            (one, evaluate(request_for(one.source, found, seed=seed, wait_s=wait), judge, device, kept))
            for one in seeds
        ]
    best, result = min(judged, key=lambda pair: _rank(pair[1]))
    passed = result.status == "passed"
    print(f"{found.name}: made by {best.made_by}, {len(seeds)} tried", file=sys.stderr)
    print(in_words(result), file=sys.stderr)
    if passed and output is not None:
        write_output(output, best.source, force=force)
    if not passed:
        print(
            "no seed is written: none that was made is right; write a kernel by hand (docs/problems.md)",
            file=sys.stderr,
        )
    if json:
        answer = {
            "problem": found.name, "made_by": best.made_by, "tried": len(seeds), "evaluated": result,
            "source": best.source if passed else None, "file": str(output) if passed and output else None,
        }  # fmt: skip
        print_answer(answer, (), as_json=True)
    elif passed and output is None:
        print(best.source, end="")
    return 0 if passed else 1


def _rank(evaluated: Evaluated) -> tuple[bool, float]:
    return evaluated.status != "passed", evaluated.time.ms if evaluated.time else 0.0
