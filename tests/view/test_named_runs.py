"""Commands that write or count something of a run take its name, and replace no file that is not kopt's."""

from pathlib import Path

import pytest

from kopt.cli import main
from kopt.command_line.completion import export_forms
from tests.device.small import SOURCE
from tests.view.hand_made_run import finish

MINE = "def my_own():\n    return 1\n"


def test_a_run_is_exported_by_its_name_and_an_export_is_replaced(made, capsys):
    finish(made)
    for form in set(export_forms()) - {"flashinfer"}:  # a definition has no parameters
        words = ["export", "run", "--as", form, "-o", "out"]
        Path("out").unlink(missing_ok=True)
        assert main(words) == 0, capsys.readouterr().err
        assert main(words) == 0, capsys.readouterr().err


@pytest.mark.parametrize("output", [["-o", "mine.py"], []])
def test_a_file_that_kopt_did_not_write_is_replaced_by_force_alone(made, capsys, output):
    finish(made)
    file = Path(output[1] if output else "scale_module.py")
    file.write_text(MINE)
    assert main(["export", "run", *output]) == 2
    assert f"{file} is there, and kopt did not write it" in capsys.readouterr().err
    assert file.read_text() == MINE
    assert main(["export", "run", *output, "--force"]) == 0
    assert file.read_text() != MINE


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
