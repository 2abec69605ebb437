"""Commands that write or count something of a run take its name, and replace no file unasked."""

from pathlib import Path

import pytest

from kopt.artifact import write_value
from kopt.cli import commands, main
from kopt.command_line.completion import export_forms
from kopt.run.earlier import keep
from kopt.run.final import final_figures
from kopt.run.so_far import read_so_far
from tests.device.small import SOURCE
from tests.view.hand_made_run import finish

MINE = "def my_own():\n    return 1\n"


def test_a_run_is_exported_by_its_name_in_every_form(made, capsys):
    finish(made)
    for form in set(export_forms()) - {"flashinfer", "sol-execbench"}:  # a definition has no parameters
        assert main(["export", "run", "--as", form, "-o", "out", "--force"]) == 0, capsys.readouterr().err


def test_a_rehearsal_is_not_exported_and_said_to_be_one(made, capsys):
    finish(made)
    manifest = made.folder / "manifest.json"
    manifest.write_text(manifest.read_text().replace('"judge": "interpret"', '"judge": "dry"'))
    assert main(["export", "run"]) == 2
    assert "was a rehearsal (judge=dry)" in capsys.readouterr().err
    assert not Path("scale_module.py").exists()


@pytest.mark.parametrize(
    ("words", "file"),
    [
        (["export", "run", "-o", "mine.py"], "mine.py"),
        (["export", "run"], "scale_module.py"),
        (["pack", "run", "-o", "mine.tar"], "mine.tar"),
        (["pack", "run"], "run.replies.tar.xz"),
        (["simplify", "run", "-o", "mine.py"], "mine.py"),
        (["simplify", "run"], "results/run/simplified.py"),
        (["seed", "softmax", "--out", "mine.py"], "mine.py"),
    ],
)
def test_a_file_that_is_there_is_refused_before_anything_is_done(made, capsys, monkeypatch, words, file):
    finish(made)
    Path(file).write_text(MINE)
    assert main(words) == 2
    assert f"{file} is there: name another file with --output, or replace it with --force" in capsys.readouterr().err
    assert Path(file).read_text() == MINE


def test_a_file_that_is_there_is_replaced_by_force_also_where_kopt_wrote_it(made, capsys):
    finish(made)
    assert main(["export", "run"]) == 0
    file = Path("scale_module.py")
    file.write_text(file.read_text() + MINE)
    assert main(["export", "run"]) == 2
    assert main(["export", "run", "--force"]) == 0
    assert MINE not in file.read_text()


def test_every_command_that_writes_a_file_that_is_named_can_be_forced():
    group = commands()
    options = {
        name: {option for param in group.get_command(None, name).params for option in param.opts}
        for name in group.list_commands(None)
    }
    writing = {name for name, own in options.items() if "--output" in own}
    assert writing == {"seed", "export", "simplify", "pack", "claim", "compare"}
    assert all("--force" in options[name] for name in writing)


@pytest.mark.parametrize("words", [["pack", "run"], ["cost", "--run", "run"]])
def test_money_and_replies_are_found_by_a_run_s_name(made, capsys, words):
    main(words)
    assert "there is no run" not in capsys.readouterr().err
    assert main([words[0], *words[1:-1], "rnu"]) == 2
    assert "there is no run 'rnu'; did you mean 'run'?" in capsys.readouterr().err


def test_a_kernel_file_in_a_run_s_folder_has_the_run_s_problem(made, capsys):
    Path("results/run/best_kernel.py").write_text(SOURCE)
    assert main(["show", "results/run/best_kernel.py"]) == 0
    assert "scale_kernel grid" in capsys.readouterr().out


@pytest.fixture
def replaced(made):
    """A run whose results a start without further rounds replaces; its folder."""
    finish(made)
    write_value(made.folder / "final.json", final_figures(read_so_far(made.folder).run))
    keep(made.folder, 0)
    for name in ("best_kernel.py", "manifest.json", "final.json"):
        (made.folder / name).unlink()
    return made.folder


@pytest.mark.parametrize("word", ["run/earlier_1", "results/run/earlier_1"])
def test_an_earlier_search_of_a_run_is_shown_compared_and_exported_as_a_run(replaced, capsys, word):
    assert not (replaced / "round_1").exists()
    assert main(["show", word]) == 0
    shown = capsys.readouterr().out
    assert shown.startswith("earlier_1      finished, 1 round")
    assert "1. r1a0s0 1.0000 ms estimated" in shown
    assert main(["show", word, "best", "--source"]) == 0
    assert "num_warps=8" in capsys.readouterr().out
    assert main(["diff", f"{word}:seed", f"{word}:best"]) == 0
    assert "warps 4 -> 8" in capsys.readouterr().out
    assert main(["export", word, "-o", "out.py"]) == 0
    assert "num_warps=8" in Path("out.py").read_text()


def test_an_earlier_search_that_is_not_there_is_said_with_the_nearest_one(replaced, capsys):
    assert main(["show", "run/earlier_2"]) == 2
    assert "there is no run 'run/earlier_2'; did you mean 'run/earlier_1'?" in capsys.readouterr().err


def test_results_that_were_kept_without_their_rounds_are_said_to_be_results_alone(replaced, capsys):
    (replaced / "earlier_1" / "facts.json").unlink()
    for words in (["show", "run/earlier_1"], ["export", "run/earlier_1"], ["diff", "run/earlier_1:best", "x.py"]):
        assert main(words) == 2
        assert "results/run/earlier_1 holds results alone, which an older kopt has kept" in capsys.readouterr().err
