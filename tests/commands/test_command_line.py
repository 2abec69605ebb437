"""The command line: one line for each error, JSON for programs, words of many values, completion, nothing imported."""

import json
import os
import re
import shutil
import subprocess
import sys
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace

import pytest

from kopt import cli, config_docs
from kopt.cli import COMMANDS
from kopt.command_line.group import command_names, command_of, help_texts, repeated
from kopt.command_line.panel import Panel, Place

NAMES = command_names(COMMANDS)
ROOT = Path(__file__).parents[2]


def options(name):
    """Names of the options of a command."""
    group = cli.commands()
    with group.make_context("kopt", [name]) as context:
        return {option for param in group.get_command(context, name).params for option in param.opts}


def failed(capsys, *words):
    """The error of a command that ends with status 2 and one line."""
    status, said = cli.main([*words]), capsys.readouterr()
    assert (status, said.out) == (2, "")
    assert said.err.startswith("kopt: error: ")
    assert said.err.count("\n") == 1
    return said.err.removeprefix("kopt: error: ").removesuffix("\n")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["cehck"], "there is no command 'cehck'; did you mean 'check'? kopt --help says more"),
        (["check"], "missing argument 'PROBLEM'; kopt check --help says more"),
        (["new", "x"], "missing option '--from'; kopt new --help says more"),
        (["evaluate", "x.py", "--problem"], "option '--problem' requires an argument; kopt evaluate --help says more"),
        (["evaluate", "x.py", "--judge", "--seed", "1"], "--judge needs a value; kopt evaluate --help says more"),
        (["evaluate", "x.py", "--problem", "softmax", "--judge", "gpu"], "'gpu' is not one of 'auto', 'interpret', "),
        (["check", "softmax", "--devcie", "h100"], "there is no option --devcie; did you mean '--device'? "),
        (["check", "softmax", "matvec"], "got unexpected extra argument(s) (matvec); kopt check --help says more"),
        (["run", "softmax", "--rounds", "3"], "there is no option --rounds: it is a setting, write rounds=VALUE; "),
        (["cost", "--rounds", "3"], "there is no option --rounds: it is a setting, write --config rounds=VALUE; "),
        (["store", "--verify", "--prune"], "--verify and --prune are two works: write one of them"),
        (["export", "x", "--as", "modul"], "--as modul: there is no such form; did you mean 'module'? forms are "),
        (["--versoin"], "there is no option --versoin; did you mean '--version'? kopt --help says more"),
        (["\x1b[31mred\x07\n"], "there is no command '\\x1b[31mred\\x07\\n'; kopt --help says more"),
    ],
)  # fmt: skip
def test_words_that_are_wrong_are_said_in_one_line(capsys, monkeypatch, words, said):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert said in failed(capsys, *words)


def test_without_words_the_help_is_printed_and_the_status_is_that_of_bad_input(capsys):
    assert cli.main(["--help"]) == 0
    helped = capsys.readouterr().out
    assert cli.main([]) == 2
    assert capsys.readouterr().out == helped


def test_help_may_be_asked_for_as_a_command(capsys):
    for words, asked in ((["help"], ["--help"]), (["help", "run"], ["run", "-h"])):
        assert cli.main(words) == 0
        helped = capsys.readouterr().out
        assert cli.main(asked) == 0
        assert capsys.readouterr().out == helped


def test_brackets_in_help_are_no_markup(capsys):
    text, examples = help_texts(a_command)
    assert text == "Say [bold]x[/bold]. Twice.\n\nSecond."
    assert examples.strip() == "kopt say '[a]'"
    command = command_of("say", SimpleNamespace(run=a_command, PLACE=Place(Panel.LOOK, 1)))
    with pytest.raises(SystemExit, match="0"):
        command.main(["--help"], prog_name="kopt say")
    shown = capsys.readouterr().out
    assert "Say [bold]x[/bold]. Twice." in shown
    assert "kopt say '[a]'" in shown


def a_command() -> int:
    """Say [bold]x[/bold].
    Twice.

    Second.

    Example:
        kopt say '[a]'
    """
    return 0


def test_help_shows_commands_in_the_order_of_a_user_s_first_day(capsys):
    cli.main(["--help"])
    shown = re.findall(r"^│ ([a-z][a-z-]*)", capsys.readouterr().out, flags=re.MULTILINE)
    assert sorted(shown) == sorted(NAMES)
    assert shown[:4] == ["new", "check", "seed", "run"]


def test_the_version_is_printed(capsys):
    assert cli.main(["--version"]) == 0
    assert capsys.readouterr().out.startswith("kopt ")


@pytest.mark.parametrize("name", NAMES)
def test_each_command_speaks_json_or_says_why_not_and_its_errors_are_json_too(name, capsys):
    if "--json" not in options(name):
        assert len(import_module(f"{COMMANDS}.{name.replace('-', '_')}").WITHOUT_JSON) > 20
        return
    assert cli.main([name, "--json", "--qqq"]) == 2
    said = capsys.readouterr()
    assert json.loads(said.out) == {"error": f"there is no option --qqq; kopt {name} --help says more"}
    assert said.err == f"kopt: error: {json.loads(said.out)['error']}\n"
    assert "JSON: " in import_module(f"{COMMANDS}.{name.replace('-', '_')}").run.__doc__


def answer(capsys, *words):
    status, said = cli.main([*map(str, words)]), capsys.readouterr()
    return status, json.loads(said.out)


def test_answers_are_one_document(tmp_path, capsys):
    (tmp_path / "store").mkdir()
    assert answer(capsys, "config", "--json")[1]["rounds"] >= 1
    assert answer(capsys, "cost", "--json", "--config", "models=[kopt-rewrite]") == (0, [])
    assert answer(capsys, "store", tmp_path / "store", "--json")[1]["kinds"] == []
    assert answer(capsys, "check", "nowhere", "--json")[1]["error"].startswith("unknown problem 'nowhere'; ")
    assert answer(capsys, "pack", tmp_path, "--json")[1]["error"].startswith(f"{tmp_path} has no ledger.jsonl")


def test_ctrl_c_is_one_line_with_its_own_status(capsys, monkeypatch):
    def interrupted():
        raise KeyboardInterrupt

    monkeypatch.setattr(config_docs, "default_yaml", interrupted)
    assert cli.main(["config"]) == 130
    assert capsys.readouterr().err == "kopt: stopped by Ctrl-C\n"
    monkeypatch.setattr(config_docs, "files", interrupted)
    assert answer(capsys, "config", "--write", "--json") == (130, {"error": "stopped by Ctrl-C"})


def test_an_error_of_kopt_itself_has_a_traceback_and_the_status_of_bad_input(capsys, monkeypatch):
    monkeypatch.setattr(config_docs, "default_yaml", lambda: 1 // 0)
    assert cli.main(["config"]) == 2
    assert capsys.readouterr().err.endswith("ZeroDivisionError: integer division or modulo by zero\n")


PROGRAM = """
import sys
from kopt.cli import COMMANDS, main
assert main(["config", "--json"]) == 0
sys.stdout.flush()
slow = [name for name in ("torch", "triton", "snakemake", "numpy", "rich") if name in sys.modules]
commands = [name for name in sys.modules if name.startswith("kopt.commands.") and ".parts" not in name]
print(slow, commands, file=sys.stderr)
"""


def test_only_the_named_command_is_imported_and_nothing_slow():
    done = subprocess.run([sys.executable, "-c", PROGRAM], cwd=ROOT, capture_output=True, text=True, check=True)
    assert json.loads(done.stdout)
    assert done.stderr == "[] ['kopt.commands.config']\n"


@pytest.mark.parametrize(("place", "status"), [("pipe", 141), ("/dev/full", 2)])
def test_output_that_cannot_be_written_is_no_answer(place, status):
    if place == "pipe":
        reader, out = os.pipe()
        os.close(reader)
    else:
        out = os.open(place, os.O_WRONLY)
    words = [sys.executable, "-m", "kopt.cli", "config"]
    done = subprocess.run(words, stdout=out, stderr=subprocess.PIPE, text=True, cwd=ROOT, check=False)
    os.close(out)
    assert done.returncode == status
    assert done.stderr == ("" if place == "pipe" else "kopt: error: No space left on device: free some space there, "
                           "then run the same command again\n")  # fmt: skip


@pytest.mark.parametrize(
    ("words", "written"),
    [
        ("--config a=1 b=2 --json", "--config a=1 --config b=2 --json"),
        ("--config=a=1 b=2 -o c d", "--config=a=1 --config b=2 -o c d"),
        ("x --config a", "x --config a"),
        ("--inputs -1 2 -- 3 4", "--inputs -1 --inputs 2 -- 3 4"),
        ("--config a --inputs b c", "--config a --inputs b --inputs c"),
        ("--preset a b", "--preset a b"),
        ("--config", "--config"),
    ],
)
def test_several_values_after_an_option_are_the_option_several_times(words, written):
    assert repeated(words.split(), {"--config", "--inputs"}) == written.split()


def completed(capsys, monkeypatch, line):
    """What bash is offered at the end of a line."""
    words = line.split(" ")
    monkeypatch.setenv("COMP_WORDS", line)
    monkeypatch.setenv("COMP_CWORD", str(len(words) - 1))
    monkeypatch.setenv(cli.COMPLETE, "complete_bash")
    with pytest.raises(SystemExit, match="0"):
        cli.main([])
    return capsys.readouterr().out.split()


@pytest.mark.parametrize(
    ("line", "offered"),
    [
        ("kopt ch", ["check"]),
        ("kopt check soft", ["softmax"]),
        ("kopt evaluate x.py --problem mat", ["matvec"]),
        ("kopt run softmax --preset gre", ["greedy"]),
        ("kopt run softmax roun", ["rounds="]),
        ("kopt run softmax --profile profiles/s", ["profiles/slurm"]),
        ("kopt cost --config rounds=2 pre", ["preset="]),
        ("kopt check softmax --device h1", ["h100"]),
        ("kopt export x --as torch", ["torch-library"]),
        ("kopt evaluate x.py --judge i", ["interpret"]),
        ("kopt check --js", ["--json"]),
        ("kopt nothing x", []),
    ],
)
def test_bash_completes(capsys, monkeypatch, line, offered):
    assert completed(capsys, monkeypatch, line) == offered


def test_runs_and_paths_complete_and_names_that_a_shell_would_read_are_not_offered(capsys, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    for name in ("results/first", "results/$(touch x)", "own/mine", "own/`x`"):
        (tmp_path / name).mkdir(parents=True)
    assert completed(capsys, monkeypatch, "kopt export res") == ["results/first"]
    assert completed(capsys, monkeypatch, "kopt check own/") == ["own/mine/"]


@pytest.mark.skipif(shutil.which("bash") is None, reason="there is no bash")
def test_the_script_for_bash_completes(tmp_path):
    """The shell's own way, from the printed script to the offered words."""
    (tmp_path / "kopt").write_text(f'#!/bin/sh\nexec {sys.executable} -m kopt.cli "$@"\n')
    (tmp_path / "kopt").chmod(0o755)
    lines = [
        'eval "$(kopt --show-completion)"',
        "COMP_WORDS=(kopt check lay) COMP_CWORD=2",
        "_kopt_completion kopt",
        'echo "${COMPREPLY[@]}"',
    ]
    environment = os.environ | {"PATH": f"{tmp_path}:{os.environ['PATH']}", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(["bash", "-c", "\n".join(lines)], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout == "layernorm\n", done.stderr
