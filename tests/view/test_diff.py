"""What differs between two kernels: source, launches, instructions, techniques, times."""

import json

import pytest

from kopt.cli import main
from kopt.commands.parts.looked_at import looker
from kopt.view.compare import difference
from kopt.view.difference_lines import difference_lines
from kopt.view.kernel import KernelView
from tests.device.small import SOURCE
from tests.view.hand_made_run import FASTER, PROBLEM, finish, hand_made_run


def view(label, source=SOURCE, **fields):
    return KernelView(label=label, name="", source=source, facts=None, verdict="passed", **fields)


def test_two_kernels_of_a_run_are_compared(made, capsys):
    finish(made)
    assert main(["diff", "seed", "best", "--run", "run"]) == 0
    text = capsys.readouterr().out
    assert "-    scale_kernel[(rows,)](x, weight, y, columns, factor, BLOCK=512, num_warps=4)" in text
    assert "+    scale_kernel[(rows,)](x, weight, y, columns, factor, BLOCK=512, num_warps=8)" in text
    assert "main: scale_kernel: warps 4 -> 8" in text
    assert "+async_copy_tma" in text


@pytest.mark.parametrize("words", [["run:seed", "run:best"], ["seed", "run:best", "--run", "results/run"]])
def test_kernels_are_named_with_their_run_or_without(made, words, capsys):
    assert main(["diff", *words, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["before"]["name"], found["after"]["name"]) == ("r0a0s0", "r1a0s0")
    assert found["launches"][0]["changed"] == [{"name": "warps", "before": "4", "after": "8"}]


def test_files_are_compared_by_their_source_where_no_problem_is_named(made, tmp_path):
    for name, source in (("a.py", SOURCE), ("b.py", FASTER)):
        (tmp_path / name).write_text(source)
    with looker(None, None, None) as look:
        found = difference(look.view("a.py"), look.view("b.py"))
    assert found.diff.startswith("--- a.py\n+++ b.py\n")
    assert found.launches == found.times == ()


def test_a_file_has_the_problem_of_the_kernel_that_it_is_compared_with(made, tmp_path):
    (tmp_path / "a.py").write_text(SOURCE)
    (tmp_path / "results/run/best_kernel.py").write_text(FASTER)
    with looker(None, None, None) as look:
        assert look.compared_with("a.py").other is None
        for word in ("run:best", "results/run/best_kernel.py"):
            assert look.compared_with(word).other.problem.name == "scale"
        assert look.compared_with("run:best").view("a.py").launches


def test_a_kernel_does_not_differ_from_itself():
    one = view("a", instructions={"k": {"total": 3, "move": 3}}, fingerprint="f")
    found = difference(one, one)
    assert (found.diff, found.launches, found.instructions, found.added, found.removed) == ("", (), (), (), ())
    assert "the sources are equal" in "\n".join(difference_lines(found))


def test_instructions_are_summed_over_kernels_and_counted_in_loops_too():
    before = view("a", instructions={"k": {"total": 5, "move": 2, "loop_total": 1, "loop_move": 1}})
    after = view("b", instructions={"k": {"total": 5, "move": 2}, "l": {"total": 1, "mma": 1}})
    found = {one.kind: one for one in difference(before, after).instructions}
    assert list(found) == ["total", "mma", "move"]
    assert (found["total"].before, found["total"].after, found["move"].before_in_loops) == (5, 6, 1)


def test_hostile_names_and_sources_do_nothing_to_a_terminal(made, capsys, tmp_path):
    (tmp_path / "a.py").write_text(SOURCE + "# \x1b[2J\u202e\n")
    (tmp_path / "b.py").write_text(SOURCE)
    assert main(["diff", "a.py", "b.py"]) == 0
    out = capsys.readouterr().out
    assert "\x1b" not in out
    assert "\u202e" not in out


def test_a_bare_name_without_a_run_is_said(made, capsys):
    assert main(["diff", "seed", "best"]) == 2
    assert "--run" in capsys.readouterr().err


@pytest.fixture
def other_run(tmp_path):
    """Makes a run in `other/results/run` whose problem has another reference."""

    def made(name):
        problem = PROBLEM.model_copy(update={"name": name, "reference": f"{PROBLEM.reference}\n"})
        return hand_made_run(tmp_path / "other", problem=problem)

    return made


@pytest.mark.parametrize(
    ("name", "said"),
    [("wider", "two problems, scale and wider"), ("scale", "two versions of the problem scale, which was edited")],
)
def test_of_kernels_of_two_problems_that_is_said_first_and_nothing_that_depends_on_the_work(
    made, other_run, capsys, name, said
):
    other_run(name)
    assert main(["diff", "run:best", "other/results/run:seed"]) == 0
    text = capsys.readouterr().out
    assert text.startswith(f"these are kernels of {said}")
    assert "+    scale_kernel[(rows,)]" in text
    assert "techniques     -async_copy_tma" in text
    rows = {line.partition(" ")[0] for line in text.splitlines()}
    assert not {"launch", "instructions", "time", "objective", "compiled"} & rows
    assert main(["diff", "run:best", "other/results/run:seed", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["apart"].startswith(said)
    assert found["launches"] == found["times"] == found["instructions"] == []


def test_two_runs_of_one_problem_are_compared_in_times_too(made, tmp_path, capsys):
    hand_made_run(tmp_path / "other")
    assert main(["diff", "run:best", "other/results/run:seed"]) == 0
    text = capsys.readouterr().out
    assert "these are kernels" not in text
    assert "launch         main: scale_kernel: warps 8 -> 4" in text


def test_a_file_in_a_runs_folder_is_a_kernel_of_that_runs_problem(made, other_run, capsys):
    (other_run("wider").folder / "best_kernel.py").write_text(SOURCE)
    assert main(["diff", "run:best", "other/results/run/best_kernel.py"]) == 0
    assert capsys.readouterr().out.startswith("these are kernels of two problems, scale and wider")
