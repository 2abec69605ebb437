"""Make commands of the modules of a package, each when it is named; all of them only where help is asked for."""

from __future__ import annotations

import copy
import inspect
import re
from importlib import import_module
from itertools import pairwise
from types import ModuleType
from typing import TYPE_CHECKING, Any, ClassVar, TypeAlias, cast

import typer
from typer.core import TyperCommand, TyperGroup, TyperOption
from typer.main import get_command

from kopt.command_line.panel import Panel, Place
from kopt.discovery import module_names
from kopt.errors import nearest
from kopt.neutral import neutral_output

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

Context: TypeAlias = Any
"""A context of a command; the class is private to typer."""

WORDS = "words of the command"
"""Name under which a context keeps the words of its command."""

OPTION = re.compile(r"--?[A-Za-z]")
"""Beginning of an option; a negative number is a value."""

EXAMPLES = re.compile(r"\n\nExamples?:\n")


class Command(TyperCommand):
    """A command whose help is its docstring, and whose options of many values take them one after another."""

    def parse_args(self, ctx: Context, args: list[str]) -> list[str]:
        """Parse the command's words, `--config a=1 b=2` as `--config a=1 --config b=2`."""
        options = [param for param in self.params if isinstance(param, TyperOption)]
        names = {name for option in options for name in option.opts}
        values = {name for option in options if not option.is_flag for name in option.opts}
        for word, following in pairwise(args):
            if word == "--":
                break
            if word in values and following in names and not ctx.resilient_parsing:
                ctx.fail(f"{word} needs a value")
        ctx.meta[WORDS] = [*args]
        return super().parse_args(ctx, repeated(args, {name for one in options if one.multiple for name in one.opts}))

    def shell_complete(self, ctx: Context, incomplete: str) -> list[Any]:
        """Complete a further value of an option of many values, else the name of an option."""
        last = next((word for word in reversed(ctx.meta[WORDS]) if OPTION.match(word)), "")
        option = next((param for param in self.params if last in param.opts), None)
        if isinstance(option, TyperOption) and option.multiple and not OPTION.match(incomplete):
            return option.shell_complete(ctx, incomplete)
        return super().shell_complete(ctx, incomplete)

    def invoke(self, ctx: Context) -> Any:
        """Run the command; foreign text that it prints is written so that it does nothing to a terminal."""
        with neutral_output():
            return super().invoke(ctx)

    def format_help(self, ctx: Context, formatter: Any) -> None:
        """Print the help; brackets in it are no markup."""
        TyperCommand.format_help(_escaped(self), ctx, formatter)


class Commands(TyperGroup):
    """Commands that are the modules of a package; only the named one is imported."""

    package: ClassVar[str]

    def list_commands(self, ctx: Context) -> list[str]:
        """Return the names of all commands, in the order in which help shows them."""
        places = {name: place_of(self._module(name)) for name in command_names(self.package)}
        panels = list(Panel)
        return sorted(places, key=lambda name: (panels.index(places[name].panel), places[name].number, name))

    def get_command(self, ctx: Context, cmd_name: str) -> Command | None:
        """Return the command with a name; None if no command has it."""
        return command_of(cmd_name, self._module(cmd_name)) if cmd_name in command_names(self.package) else None

    def resolve_command(self, ctx: Context, args: list[str]) -> tuple[str | None, Any, list[str]]:
        """Return the command that the first word names, and the other words."""
        command = self.get_command(ctx, args[0])
        if command is None and not ctx.resilient_parsing:
            ctx.fail(f"there is no command {args[0]!r}{nearest(args[0], command_names(self.package))}")
        return (args[0] if command else None), command, args[1:]

    def _module(self, name: str) -> ModuleType:
        return import_module(f"{self.package}.{name.replace('-', '_')}")

    def format_help(self, ctx: Context, formatter: Any) -> None:
        """Print the help; brackets in it are no markup."""
        TyperGroup.format_help(_escaped(self), ctx, formatter)


def command_names(package: str) -> tuple[str, ...]:
    """Return the names of a package's commands: those of its modules, with `-` for `_`."""
    return tuple(name.replace("_", "-") for name in module_names(package))


def command_of(name: str, module: ModuleType) -> Command:
    """Make a command of a module's function `run`: its docstring is the help, its parameters are the words."""
    text, examples = help_texts(module.run)
    app = typer.Typer(add_completion=False)
    app.command(
        name, cls=Command, help=text, short_help=text.partition("\n\n")[0].removesuffix("."),
        epilog=f"Examples:\n{examples}" if examples else None, rich_help_panel=place_of(module).panel.value,
    )(module.run)  # fmt: skip
    command = cast("Command", get_command(app))
    for param in command.params:
        if isinstance(param, TyperOption) and param.is_flag:
            param.metavar = ""  # else help says of each flag that it is a bool
    return command


def help_texts(run: Any) -> tuple[str, str]:
    """Return a docstring's paragraphs, each on one line, and its examples, a command line each."""
    text, *examples = EXAMPLES.split(inspect.cleandoc(run.__doc__ or ""), maxsplit=1)
    paragraphs = (" ".join(paragraph.split()) for paragraph in text.split("\n\n"))
    return "\n\n".join(paragraphs), "\n".join(examples).rstrip()


def place_of(module: ModuleType) -> Place:
    """Return a command's place in `kopt --help`."""
    place: Place = module.PLACE
    return place


def repeated(words: Sequence[str], many: Collection[str]) -> list[str]:
    """Write options that are followed by several values so that each value follows its option's name.

    Args:
        words: of a command line; those after `--` are left as they are.
        many: names of the options that take several values.
    """
    written: list[str] = []
    option, has_value = "", False
    for position, word in enumerate(words):
        if word == "--":
            return [*written, *words[position:]]
        name, sign, _ = word.partition("=")
        if OPTION.match(word):
            option, has_value = (name, bool(sign)) if name in many else ("", False)
        elif option:
            written += [option] if has_value else []
            has_value = True
        written.append(word)
    return written


def _escaped(command: Any) -> Any:
    """Return a command whose help can be printed as markup of rich."""
    if command.rich_markup_mode is None:  # rich is switched off (TYPER_USE_RICH)
        return command
    from rich.markup import escape

    shown = copy.copy(command)
    for name in ("help", "epilog"):
        setattr(shown, name, escape(getattr(command, name) or "") or None)
    return shown
