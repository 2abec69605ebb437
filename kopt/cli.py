"""Run the command of `kopt` that the command line names.  Plain `snakemake` starts a search, too."""

from __future__ import annotations

import json
import os
import sys
import traceback
from collections.abc import Sequence
from typing import Annotated

import typer
from typer.core import TyperGroup
from typer.main import get_command

from kopt import __version__
from kopt.command_line.group import Commands
from kopt.command_line.usage import PROGRAM, usage_fault
from kopt.errors import KoptError, error_line
from kopt.neutral import neutral_output

HELP = """Search for faster GPU kernels, and be able to repeat the search."""

EXAMPLES = """Examples:
  kopt new swish --from my_model.py      make a problem of your own operator
  kopt run swish rounds=4                search for a faster kernel: needs no key and no GPU
  kopt export results/RUN --as module    write the winner as a PyTorch module
Every command explains itself: kopt COMMAND --help.  Exit codes and JSON: docs/commands.md"""

COMPLETE = f"_{PROGRAM.upper()}_COMPLETE"
"""Variable by which a shell asks for completions."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command and return its exit status; bad input and errors of kopt itself have status 2."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    group = commands()
    if COMPLETE in os.environ:
        group.main(words, prog_name=PROGRAM)
    try:
        with group.make_context(PROGRAM, [*words] or ["--help"]) as context:
            status: int = group.invoke(context)
            sys.stdout.flush()
            return status
    except typer.Exit as end:
        return end.exit_code if words else 2
    except Exception as error:  # noqa: BLE001 - the process ends here; status 1 would say that a kernel did not pass
        with neutral_output():
            return _failed(error, words)
    except KeyboardInterrupt:
        print("kopt: stopped by Ctrl-C", file=sys.stderr)
        return 130


def commands() -> TyperGroup:
    """Return all commands of `kopt`, none of which is imported yet."""
    app = typer.Typer(
        name=PROGRAM, cls=Commands, help=HELP, epilog=EXAMPLES, context_settings={"help_option_names": ["-h", "--help"]}
    )
    app.callback()(_options)
    group = get_command(app)
    assert isinstance(group, TyperGroup)
    return group


def _print_version(wanted: bool) -> None:
    if wanted:
        print(f"kopt {__version__}")
        raise typer.Exit


def _options(
    version: Annotated[
        bool, typer.Option("--version", is_eager=True, callback=_print_version, help="Print the version.")
    ] = False,
) -> None:
    """Take the words before a command."""


def _failed(error: Exception, words: Sequence[str]) -> int:
    """Say in one line what went wrong, and return the exit status."""
    if isinstance(error, typer.TyperException):
        error = KoptError(usage_fault(error, words))
    if isinstance(error, KoptError | OSError):
        line = error_line(error)
        print(line, file=sys.stderr)
    else:
        traceback.print_exc()
        line = error_line(error)
    if "--json" in words:
        print(json.dumps({"error": line.removeprefix("kopt: error: ")}, indent=1))
    return 2


if __name__ == "__main__":
    sys.exit(main())
