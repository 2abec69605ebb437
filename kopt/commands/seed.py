"""`kopt seed`: make a seed kernel from a problem's reference."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NamedTuple

import typer

from kopt.command_line.numbers import count, dollars, seconds
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
    check_judge,
    check_output,
    check_store,
    problem_of,
    uses_gpu,
    write_output,
)
from kopt.commands.parts.output import print_answer
from kopt.errors import SeedError
from kopt.store import Store

if TYPE_CHECKING:
    from kopt.commands.parts.evaluation import Evaluated
    from kopt.llm.table import ModelTable
    from kopt.model.device import Device
    from kopt.model.problem import Problem

PLACE = Place(Panel.BRING, 3)

MAKERS = {
    "inductor": "TorchInductor (as torch.compile does, cleaned up)",
    "template": "a template of kopt",
    "inductor and template": "TorchInductor (as torch.compile does, cleaned up) and a template of kopt",
}
"""Makers of seeds, in words."""

LET_A_MODEL = "write a kernel by hand (docs/problems.md), or let a language model do it with --model"
"""Advice in messages where no right seed kernel was made."""


class _Candidate(NamedTuple):
    """A seed kernel that was made and judged."""

    source: str
    made_by: str
    """Its maker, in words."""
    result: Evaluated


Judged = Callable[[str], "Evaluated"]
"""Judges the source of a kernel."""


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
    model: Annotated[
        list[str] | None,
        typer.Option(
            "--model",
            metavar="NAME...",
            help="Also let these language models write one, by their names in config/models.yaml.",
        ),
    ] = None,
    tries: Annotated[
        int,
        typer.Option(
            "--tries", metavar="NUMBER", parser=count, help="With --model: most requests to each, repairs included."
        ),
    ] = 3,
    budget: Annotated[
        float | None,
        typer.Option(
            "--budget", metavar="USD", parser=dollars, help="With --model: most US dollars; default: no limit."
        ),
    ] = None,
    models_file: Annotated[
        Path | None,
        typer.Option("--models-file", metavar="FILE", help="With --model: the table of models.", show_default=False),
    ] = None,
    force: Force = False,
    json: AsJson = False,
) -> int:
    """Make a seed kernel from a problem's reference, and judge it.

    Write the fastest right one into a file, or print it; the status is 1 where none is right.  With --model language
    models write kernels, too, and get the error of one that is wrong; the replies are kept in the store, and a right
    one that they have given is not paid for again.

    JSON: `problem`, `made_by`, `tried`, `evaluated` as of kopt evaluate, `source` (null where none is right), `file`,
    and with --model `cost` in US dollars, of all replies so far.

    Examples:
        kopt seed softmax
        kopt seed ./my_problem --variants 3 --out my_problem/kernel.py
        kopt seed ./my_problem --model gpt-5 --budget 1 --out my_problem/kernel.py
    """
    from kopt.commands.parts.evaluation import in_words
    from kopt.commands.parts.one_kernel import evaluate, request_for
    from kopt.jobs.made_seed import device_to_write_for
    from kopt.llm.table import load_table
    from kopt.preflight.model_seed import check_models

    found = problem_of(problem)
    check_store(store)
    check_output(output, force=force)
    check_judge(judge)
    on_gpu = not device and uses_gpu(judge)
    target = device_to_write_for(device or DEFAULTS.device, ROOT, on_gpu=on_gpu)
    names = list(dict.fromkeys(model or ()))
    table = load_table(models_file or ROOT / DEFAULTS.models_file) if names else None
    if table is not None:
        check_models(table, names, os.environ)
    cost: float | None = None
    with tempfile.TemporaryDirectory(prefix="kopt-") as scratch:
        kept = Store((store or (Path(DEFAULTS.store) if table else Path(scratch))).resolve())

        def judged(source: str) -> Evaluated:
            return evaluate(request_for(source, found, seed=seed, wait_s=wait), judge, device, kept)

        candidates = _of_the_reference(found, target, variants, limit, judged, needed=table is None)
        if table is not None:
            written, cost = _by_models(found, target, names, table, kept, budget, tries, judged)
            candidates += written
    if not candidates:
        raise SeedError(f"no seed: none is made of the reference, and no kernel of {', '.join(names)} is right")
    source, made_by, result = min(candidates, key=lambda one: _rank(one.result))
    passed = result.status == "passed"
    print(f"{found.name}: made by {made_by}, {len(candidates)} tried", file=sys.stderr)
    print(in_words(result, has_seed=found.has_seed), file=sys.stderr)
    if passed and output is not None:
        write_output(output, source, force=force)
    if not passed:
        print(f"no seed is written: none that was made is right; {LET_A_MODEL}", file=sys.stderr)
    if json:
        answer = {
            "problem": found.name, "made_by": made_by, "tried": len(candidates), "evaluated": result,
            "source": source if passed else None, "file": str(output) if passed and output else None,
        } | ({} if cost is None else {"cost": cost})  # fmt: skip
        print_answer(answer, (), as_json=True)
    elif passed and output is None:
        print(source, end="")
    return 0 if passed else 1


def _of_the_reference(
    problem: Problem, device: Device, variants: int, limit_s: float, judged: Judged, *, needed: bool
) -> list[_Candidate]:
    """Make and judge seeds of the reference; return none where neither TorchInductor nor a template makes one.

    Args:
        problem: the problem.
        device: the device to write for.
        variants: seeds to make, at most.
        limit_s: limit of making them, s.
        judged: judges a source.
        needed: whether a reference of which no seed can be made is an error.

    Raises:
        SeedError: no seed can be made of the reference, and no language model was asked to write one.
    """
    from kopt.jobs.made_seed import seeds_of

    try:
        made = seeds_of(problem, device, variants=variants, limit_s=limit_s)
    except SeedError as error:
        if needed:
            raise SeedError(f"no seed: {error}; {LET_A_MODEL}") from error
        print(f"kopt: note: none is made of the reference: {error}", file=sys.stderr, flush=True)
        made = []
    return [_Candidate(one.source, MAKERS[one.made_by], judged(one.source)) for one in made]


def _by_models(
    problem: Problem, device: Device, names: Sequence[str], table: ModelTable, store: Store, budget: float | None,
    tries: int, judged: Judged,
) -> tuple[list[_Candidate], float]:  # fmt: skip
    """Let language models write seeds; return those that are right, and the US dollars of all replies so far."""
    from kopt.preflight.model_seed import asker_in, cost_of, written_by_models
    from kopt.prompts.write_seed import FailedSeed

    results: dict[str, Evaluated] = {}

    def fault(source: str) -> FailedSeed | None:
        one = results[source] = judged(source)
        if one.status == "passed":
            return None
        return FailedSeed(phase=one.phase or one.status, reason=one.reason, draft=source)

    asker = asker_in(store.root.parent / f"{problem.name}.seed", table, store, budget)
    written = written_by_models(problem, device, names, asker=asker, tries=tries, judge=fault)
    cost = cost_of(asker).paid_usd
    print(f"kopt: note: replies cost {cost:.4f} USD so far, listed in {asker.run}", file=sys.stderr)
    return [_Candidate(one.source, one.made_by, results[one.source]) for one in written], cost


def _rank(evaluated: Evaluated) -> tuple[bool, float]:
    return evaluated.status != "passed", evaluated.time.ms if evaluated.time else 0.0
