"""Every command line in the documentation, in help and in messages is one that kopt takes."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import typer

from kopt import cli
from kopt.cli import COMMANDS
from kopt.command_line.group import command_names

ROOT = Path(__file__).parents[2]
NAMES = command_names(COMMANDS)
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
SOURCES = [
    path for folder in ("kopt", "snakemake_logger_plugin_kopt", "workflow") for path in (ROOT / folder).rglob("*")
]
SPAN = re.compile(r"`(kopt [^`]+)`")
MENTION = re.compile(r"\bkopt ([a-z]+(?:-[a-z]+)*)((?: (?:--[a-z][a-z-]*|[\w.{}/=-]+))*)")


def lines_of(page):
    """Command lines of a page, and whether each is whole: lines of its blocks are, code within its text need not be."""
    text = page.read_text().replace("\\\n", " ")
    for span in SPAN.findall(re.sub(r"^```.*?^```", "", text, flags=re.S | re.M)):
        if len(span.split()) > 2:  # else it is the name of a command
            yield from ((line, False) for line in _commands(span.replace("\\|", "|")))
    blocks = re.findall(r"^```[^\n]*\n(.*?)^```", text, flags=re.S | re.M)
    for line in [*"\n".join(blocks).splitlines(), *re.findall(r"^    (\S.*)$", text, flags=re.M)]:
        yield from ((line, True) for line in _commands(line.removeprefix("$ ")))


def _commands(line):
    """The parts of a line that a shell would run as kopt."""
    if "kopt " not in line:
        return
    lexer = shlex.shlex(line, posix=True, punctuation_chars="|&;>")
    lexer.whitespace_split = True
    part = []
    try:
        for word in [*lexer, ";"]:
            if set(word) <= set("|&;>"):
                if part[:1] == ["kopt"]:
                    yield shlex.join(part)
                part = []
            else:
                part.append(word)
    except ValueError:  # prose with an apostrophe
        return


def take(line):
    """Parse a command line without running it."""
    words = shlex.split(line)[1:]
    group = cli.commands()
    try:
        if words[0].startswith("-"):
            group.make_context("kopt", words)
        else:
            with group.make_context("kopt", words[:1]) as context:
                command = group.get_command(context, words[0])
                assert command is not None, f"there is no command {words[0]}"
                command.make_context(words[0], words[1:], parent=context)
    except typer.Exit:  # --help
        pass


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.name)
def test_every_command_line_of_a_page_is_taken(page, capsys):
    for line, is_whole in lines_of(page):
        if not line.split()[1].isupper():  # kopt COMMAND
            try:
                take(line)
            except typer.TyperException as error:
                if is_whole or not error.format_message().startswith("Missing "):
                    pytest.fail(f"{line}: {error.format_message()}")


def test_command_lines_of_the_pages_are_found():
    found = {page.name: len(list(lines_of(page))) for page in PAGES}
    assert found["README.md"] >= 10
    assert found["problems.md"] >= 10
    assert found["commands.md"] >= 2 * len(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_each_command_has_an_example_that_is_taken(name):
    group = cli.commands()
    with group.make_context("kopt", [name]) as context:
        head, *examples = group.get_command(context, name).epilog.splitlines()
    assert head == "Examples:"
    assert examples
    for example in examples:
        assert example.split()[:2] == ["kopt", name]
        take(example)


def test_the_examples_of_the_help_are_taken():
    lines = [line.split("#")[0] for line in cli.EXAMPLES.splitlines() if line.startswith("  kopt ")]
    assert len(lines) == 3
    for line in lines:
        take(line)


def test_every_command_that_kopt_s_messages_and_docstrings_name_exists_with_its_options():
    group = cli.commands()
    known = {}
    with group.make_context("kopt", ["store"]) as context:
        for name in NAMES:
            params = group.get_command(context, name).params
            known[name] = {option for param in params for option in param.opts} | {"--help"}
    mentions = [
        (path, *found)
        for path in SOURCES
        if path.suffix in (".py", ".smk", ".yaml", ".j2", ".html")
        for found in MENTION.findall(path.read_text())
        if found[0] in known
    ]
    assert len(mentions) > 30
    unknown = [
        (str(path), name, word)
        for path, name, rest in mentions
        for word in rest.partition(" -- ")[0].split()
        if re.match("--[a-z]", word) and word not in known[name]
    ]
    assert unknown == []


def test_the_page_of_commands_is_what_the_commands_say():
    command = [sys.executable, ROOT / "docs" / "list_commands.py", "--check"]
    assert subprocess.run(command, check=False).returncode == 0, "run make generated"


def test_the_page_of_commands_names_every_exit_status():
    page = (ROOT / "docs" / "commands.md").read_text()
    for status in (0, 1, cli.BAD, cli.INTERRUPTED, cli.NOBODY_READS):
        assert f"\n| {status} | " in page
