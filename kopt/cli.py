"""Run the command of `kopt` that the command line names.  A search is started with `snakemake`."""

from __future__ import annotations

import argparse
import sys
import traceback
from collections.abc import Callable, Sequence
from importlib import import_module

from kopt import __version__
from kopt.discovery import module_names
from kopt.errors import KoptError, error_line
from kopt.neutral import neutral_output

COMMANDS = "kopt.commands"
"""The package whose modules are the commands."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command and return its exit status; bad input and errors of kopt itself have status 2."""
    with neutral_output():
        options = _parsed(list(sys.argv[1:] if arguments is None else arguments))
        command: Callable[[argparse.Namespace], int] = options.command
        try:
            return command(options)
        except KoptError as error:
            print(error_line(error), file=sys.stderr)
        except KeyboardInterrupt:
            print("kopt: stopped by Ctrl-C", file=sys.stderr)
            return 130
        except OSError as error:
            print(error_line(error), file=sys.stderr)
        except Exception:  # noqa: BLE001 - the process ends here; status 1 would say that a kernel did not pass
            traceback.print_exc()
        return 2


def _parsed(words: list[str]) -> argparse.Namespace:
    """Parse a command line; of the commands only the named one is imported, all of them where help is asked for."""
    parser = argparse.ArgumentParser(prog="kopt", description="A reproducible search for faster GPU kernels.")
    parser.add_argument("--version", action="version", version=f"kopt {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    names = module_names(COMMANDS)
    for name in words[:1] if words and words[0] in names else names:
        import_module(f"{COMMANDS}.{name}").add_parser(commands)
    return parser.parse_args(words)


if __name__ == "__main__":
    sys.exit(main())
