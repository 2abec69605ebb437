"""`kopt claim`: write a certificate of a run's win."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from kopt.command_line.panel import Panel, Place
from kopt.commands.parts.arguments import AsJson, Force, Output, check_output
from kopt.commands.parts.looked_at import OwnStore, RunName, opened, run_folder, store_of
from kopt.commands.parts.output import print_answer

PLACE = Place(Panel.PROVE, 6)


def run(
    run: RunName,
    against: Annotated[
        str | None,
        typer.Option(
            "--against",
            metavar="NAME",
            help="What the kernel beats: eager, compile, max-autotune or seed; default: the fastest of PyTorch's ways "
            "that were measured beside it.",
            show_default=False,
        ),
    ] = None,
    store: OwnStore = None,
    output: Output = None,
    force: Force = False,
    json: AsJson = False,
) -> int:
    """Write a certificate of a run's win, which others can verify.

    The file, RUN.claim.json by default, holds the kernel, the reference and its workloads, the verdict with its checks,
    times with intervals, the environment, the command and digests.  Only what was measured on a GPU, and is faster
    beyond noise, can be claimed.

    JSON: `path`, `statement`, `win`, `digests`.

    Examples:
        kopt claim first
        kopt claim results/first --against eager --out first.claim.json
    """
    from kopt.artifact import write_value
    from kopt.commands.parts.claims import claim_of, refuse_estimates
    from kopt.run.load import load_run

    check_output(output, force=force)
    found = opened(run)
    refuse_estimates(found.folder.resolve().name, found.config)
    claim = claim_of(
        load_run(run_folder(run)), store_of(found, store), against=against, started=found.started
    )  # fmt: skip
    path = output or Path(f"{claim.run}.claim.json")
    check_output(path, force=force)
    write_value(path, claim)
    answer = {"path": str(path), "statement": claim.statement, "win": claim.win, "digests": claim.digests}
    lines = [f"{path}: {claim.statement}", f"verify it on another machine: kopt verify-claim {path.name}"]
    print_answer(answer, lines, as_json=json)
    return 0
