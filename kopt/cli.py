"""Run the command of `kopt` that the command line names.  Plain `snakemake` starts a search, too."""

from __future__ import annotations

import json
import os
import select
import sys
import traceback
from collections.abc import Sequence
from contextlib import suppress
from typing import Annotated

import typer
from typer.core import TyperGroup
from typer.main import get_command

from kopt.command_line.group import Commands, command_names
from kopt.command_line.usage import PROGRAM, usage_fault
from kopt.errors import KoptError, error_line
from kopt.neutral import neutral_output
from kopt.version import VERSION

HELP = "Search for faster GPU kernels, and be able to repeat the search."

EXAMPLES = """Examples:
  kopt new swish --from my_model.py     # a problem of your own operator
  kopt run swish rounds=4               # search: needs no key and no GPU
  kopt export results/RUN --as module   # the winner as a PyTorch module

kopt COMMAND --help explains a command; docs/commands.md has exit codes and JSON."""

COMMANDS = "kopt.commands"
"""The package whose modules are the commands."""

COMPLETE = f"_{PROGRAM.upper()}_COMPLETE"
"""Variable by which a shell asks for completions."""

BAD, INTERRUPTED, NOBODY_READS = 2, 130, 141
"""Exit statuses: bad input or an error of kopt itself, Ctrl-C, and a pipe that nobody reads any longer."""


class KoptCommands(Commands):
    """The commands of `kopt`."""

    package = COMMANDS


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command and return its exit status; bad input and errors of kopt itself have status 2."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    if words[:1] == ["help"]:
        words = [*words[1:], "--help"]
    group = commands()
    if COMPLETE in os.environ:
        group.main(words, prog_name=PROGRAM)
    try:
        with group.make_context(PROGRAM, [*words] or ["--help"]) as context:
            status: int = group.invoke(context)
            sys.stdout.flush()
            return status
    except typer.Exit as end:
        return end.exit_code if words else BAD
    except (Exception, KeyboardInterrupt) as error:  # noqa: BLE001 - status 1 would say that a kernel did not pass
        with neutral_output():
            return _failed(error, words)


def commands() -> TyperGroup:
    """Return all commands of `kopt`, none of which is imported yet."""
    app = typer.Typer(
        name=PROGRAM,
        cls=KoptCommands,
        help=HELP,
        epilog=EXAMPLES,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    app.callback()(_options)
    group = get_command(app)
    assert isinstance(group, TyperGroup)
    return group


def _print_version(wanted: bool) -> None:
    if wanted:
        print(f"kopt {VERSION}")
        raise typer.Exit


def _options(
    version: Annotated[
        bool, typer.Option("--version", is_eager=True, callback=_print_version, help="Print the version.")
    ] = False,
) -> None:
    """Take the words before a command."""


def _failed(error: Exception | KeyboardInterrupt, words: Sequence[str]) -> int:
    """Say in one line what went wrong, to programs as JSON too, and return the exit status."""
    if isinstance(error, OSError):
        nobody_reads = _nobody_reads()
        _drop_unwritten()
        if nobody_reads:
            return NOBODY_READS
    if isinstance(error, KeyboardInterrupt):
        status, line = INTERRUPTED, "kopt: stopped by Ctrl-C"
    elif isinstance(error, typer.TyperException):
        command = words[0] if words and words[0] in command_names(COMMANDS) else ""
        status, line = BAD, error_line(KoptError(usage_fault(error, command)))
    else:
        status, line = BAD, error_line(error)
    if isinstance(error, KeyboardInterrupt | typer.TyperException | KoptError | OSError):
        print(line, file=sys.stderr)
    else:
        traceback.print_exception(error)
    if "--json" in words:
        print(json.dumps({"error": line.removeprefix("kopt: ").removeprefix("error: ")}, indent=1))
    return status


def _nobody_reads() -> bool:
    """Return whether stdout is a pipe whose other end is closed."""
    poll = select.poll()
    try:
        poll.register(sys.stdout.fileno(), 0)
    except OSError:  # a stream without a file
        return False
    return any(event & select.POLLERR for _, event in poll.poll(0))


def _drop_unwritten() -> None:
    """Drop what was printed and cannot be written, since Python would try again at its end."""
    try:
        sys.stdout.flush()
    except OSError:
        with suppress(OSError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


if __name__ == "__main__":
    sys.exit(main())
