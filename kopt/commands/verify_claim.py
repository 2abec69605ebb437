"""`kopt verify-claim`: measure again what a certificate claims."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import Annotated

import typer

from kopt.command_line.panel import Panel, Place
from kopt.commands.parts.arguments import AsJson, Wait, existing_file, uses_gpu
from kopt.commands.parts.output import print_answer
from kopt.errors import DeviceError
from kopt.sandbox.confined import check_confinable, confined_environment, run_confined

PLACE = Place(Panel.PROVE, 7)


def run(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A certificate, as kopt claim writes it.")],
    wait: Wait = 600.0,
    trust: Annotated[
        bool,
        typer.Option("--trust", help="Run the certificate's reference outside of the cage, with all your rights."),
    ] = False,
    json: AsJson = False,
) -> int:
    """Measure again, on this machine's GPU, what a certificate claims.

    The kernel is built, verified on new inputs and timed beside what it claims to beat, by the judge of a search.  It
    runs in the cage as a candidate does, and so does the reference.  The status is 0 if the claim holds and 1 if not.

    JSON: `holds`, `reason`, `statement`, `claimed`, `claimed_on`, `measured`, `measured_on`, `checks`.

    Examples:
        kopt verify-claim first.claim.json
        kopt verify-claim first.claim.json --json
    """
    from kopt.commands.parts.claims import measured_again, read_claim, verified_lines
    from kopt.store import Store

    claim = read_claim(existing_file(file, "a certificate of kopt claim"))
    if not uses_gpu("auto"):
        raise DeviceError("this machine shows no GPU, and a claim is verified by measuring: an estimate shows nothing")
    if not trust:
        try:
            check_confinable(gpu=True)
        except DeviceError as error:
            raise DeviceError(
                f"{file} holds code (its reference), and {error}: verify it elsewhere, or with --trust if you trust it"
            ) from error
    with tempfile.TemporaryDirectory(prefix="kopt-claim-") as scratch:
        folder = Path(scratch).resolve()
        for name in ("store", "home", "home/tmp"):
            (folder / name).mkdir()

        def measured() -> int:
            verified = measured_again(claim, "cuda", Store(folder / "store"), wait_s=wait)
            print_answer(verified, verified_lines(verified), as_json=json)
            sys.stdout.flush()
            return 0 if verified.holds else 1

        if trust:
            return measured()
        return run_confined(measured, [folder], confined_environment(folder / "home"), gpu=True)
