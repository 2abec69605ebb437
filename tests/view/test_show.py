"""What is known of a run and of its kernels is shown, also of a run that goes on; foreign text does nothing."""

import json
import os

import pytest

from kopt.cli import main
from kopt.errors import ConfigError
from kopt.run.so_far import read_so_far
from kopt.view.kernel import WorkloadTime, source_facts
from kopt.view.kernel_lines import kernel_lines
from kopt.view.of_run import trial_named, view_of_trial
from kopt.view.result import result_lines
from kopt.view.run import view_of_run
from kopt.view.run_lines import run_lines
from tests.device.small import SOURCE
from tests.view.hand_made_run import FASTER, finish


def kernel(made, word):
    run = read_so_far(made.folder)
    return view_of_trial(word, trial_named(word, run), run, made.store)


@pytest.fixture
def answer(made, capsys):
    """Runs `kopt show` and returns what it prints as JSON."""

    def shown(*words):
        assert main(["show", *words, "--json"]) == 0
        return json.loads(capsys.readouterr().out)

    return shown


@pytest.mark.parametrize("ended", [True, False])
def test_a_run_shows_its_lineage_rounds_and_failures_whether_it_ended_or_not(made, ended):
    if ended:
        finish(made)
    else:
        (made.folder / "round_1/round.json").unlink()
    text = "\n".join(run_lines(view_of_run(read_so_far(made.folder), made.store)))
    assert ("1. r1a0s0 1.0000 ms estimated, 7.13x its parent estimated" in text) is ended
    assert "1 syntax error (the reply holds code that is no Python), as r1a0s1: CompilationError: \\u202eno" in text
    assert "0. r0a0s0 7.1253 ms estimated" in text
    assert "\x1b" not in text


def test_a_step_within_the_error_of_estimates_is_no_gain(made):
    finish(made)
    view = view_of_run(read_so_far(made.folder), made.store)
    assert (view.lineage[1].unsure, view.faster) == ("", {0: 0, 1: 1})
    near = view.lineage[1].model_copy(update={"ratio": 1.03, "unsure": "within the error of estimates"})
    lines = run_lines(view.model_copy(update={"lineage": (view.lineage[0], near)}))
    assert any("1.03x its parent estimated, within the error of estimates, by" in line for line in lines)


def test_a_kernel_shows_where_it_comes_from_and_what_was_found_of_it(made):
    finish(made)
    text = "\n".join(kernel_lines(kernel(made, "best")))
    for words in (
        "r1a0s0 best", "kopt-rewrite from r0a0s0", "scale_kernel, sums in a fixed order", "masked_access",
        "as a parent, rank 1 of round 1", "main: scale_kernel grid 4096x1x1, 8 warps, 3 stages",
        "16 registers, 0 B shared, 0 B spilled, occupancy", "1 load_global_wide", "1.0000 ms estimated",
    ):  # fmt: skip
        assert words in text


def test_a_number_of_the_words_that_the_build_contradicts_stands_beside_them_with_what_was_built(made):
    finish(made)
    run = read_so_far(made.folder)
    trial = trial_named("best", run).model_copy(update={"description": "16 warps hide the latency"})
    view = view_of_trial("best", trial, run, made.store)
    assert view.contradicted == ("8 warps, not 16",)
    assert "the build says otherwise: 8 warps, not 16" in "\n".join(kernel_lines(view))
    assert view_of_trial("best", trial_named("best", run), run, made.store).contradicted == ()


def test_a_kernel_that_failed_shows_its_phase_and_reason(made):
    text = "\n".join(kernel_lines(kernel(made, "r1a0s1")))
    assert "failed: syntax error (the reply holds code that is no Python)" in text
    assert "CompilationError: \\u202eno" in text
    assert "no Python" in text


def test_a_build_that_is_no_longer_in_the_store_is_said(made):
    (made.store.root / "build").rename(made.store.root / "gone")
    view = kernel(made, "best")
    assert (view.launches, view.source) == ((), FASTER)
    assert "not in the store" in view.note


@pytest.mark.parametrize("word", ["seed", "r0a0s0", source_facts(SOURCE).digest[:8], source_facts(SOURCE).digest])
def test_words_that_name_a_kernel(made, word):
    assert trial_named(word, read_so_far(made.folder)).name == "r0a0s0"


@pytest.mark.parametrize(("word", "said"), [("bets", "did you mean 'best'"), ("r9a9s9", "r1a0s"), ("abc", "no kernel")])
def test_words_that_name_no_kernel(made, word, said):
    with pytest.raises(ConfigError, match=said):
        trial_named(word, read_so_far(made.folder))


def test_a_digest_that_two_kernels_begin_with_is_refused(made):
    run = read_so_far(made.folder)
    trials = [one.model_copy(update={"kernel": "abcd" + one.kernel[4:]}) for one in run.trials]
    object.__setattr__(run, "trials", trials)
    with pytest.raises(ConfigError, match="names 4 kernels"):
        trial_named("abcd", run)


def test_json_holds_everything(made, answer):
    run = answer("run")
    assert [step["name"] for step in run["lineage"]] == ["r0a0s0", "r1a0s0"]
    assert answer("run", "best")["source"] == FASTER
    assert answer("run", "best")["asked"] is None


def test_the_store_is_found_from_any_folder_also_of_a_moved_run(made, answer, monkeypatch, tmp_path):
    monkeypatch.chdir("/")
    assert answer(str(made.folder), "best")["source"] == FASTER
    (tmp_path / "results").rename(tmp_path / "moved")
    assert answer(str(tmp_path / "moved" / "run"), "best")["source"] == FASTER


def test_the_source_is_printed_on_demand(made, capsys):
    assert main(["show", "run", "best", "--source"]) == 0
    assert FASTER.strip() in capsys.readouterr().out
    assert main(["show", "run", "best"]) == 0
    assert FASTER.strip() not in capsys.readouterr().out


def test_a_kernel_in_a_file_shows_its_source_facts_without_a_problem(made, answer, tmp_path):
    (tmp_path / "mine.py").write_text(SOURCE)
    view = answer("mine.py")
    assert (view["facts"]["kernels"], view["verdict"]) == (["scale_kernel"], "not judged")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["run", "--source"], "name it, e.g. best"),
        (["mine.py", "best"], "is a file"),
        (["mine.py", "--reply"], "is a file"),
        (["nowhere.py"], "cannot be read"),
        (["run", "best", "--store", "nowhere"], "no such folder"),
    ],
)
def test_what_cannot_be_shown_is_said(made, words, said, capsys, tmp_path):
    (tmp_path / "mine.py").write_text(SOURCE)
    assert main(["show", *words]) == 2
    assert said in capsys.readouterr().err


@pytest.mark.parametrize("command", ["show", "status"])
@pytest.mark.parametrize(
    "name",
    ["problem.json", "device.json", "started.json", "manifest.json", "ledger.jsonl", "working.lock", "logs/x.log",
     "round_0/round.json", "round_0/selection.parquet", "round_1/attempt_0/builds.parquet"],
)  # fmt: skip
def test_a_pipe_in_a_run_is_never_waited_for(made, capsys, command, name):
    finish(made)
    path = made.folder / name
    path.parent.mkdir(exist_ok=True)
    path.unlink(missing_ok=True)
    os.mkfifo(path)
    status = main([command, str(made.folder)])
    lines = capsys.readouterr().err.splitlines()
    assert (status, len(lines)) in ((0, 0), (2, 1))
    assert all("not a plain file" in line for line in lines)


def test_what_slows_a_kernel_down_stands_on_lines_of_its_own_and_a_run_tells_the_first_causes(made):
    finish(made)
    view = view_of_run(read_so_far(made.folder), made.store)
    causes = tuple(f"k: cause {number}" for number in range(5))
    slow = WorkloadTime(workload="main", ms=1.0, floor_ms=0.1, bound="memory", notes=causes)
    best = view.best.model_copy(update={"times": (slow, slow.model_copy(update={"workload": "other", "notes": ()}))})
    lines = run_lines(view.model_copy(update={"best": best}))
    at = next(place for place, line in enumerate(lines) if line.startswith("workloads"))
    assert [line.strip() for line in lines[at + 1 : at + 6]] == [
        *causes[:3], "and 2 more (kopt show RUN best lists them)",
        "other: 1.0000 ms estimated, 10 % of the roofline (0.1000 ms), memory bound estimated",
    ]  # fmt: skip
    assert "cause" not in lines[at]
    assert [line.strip() for line in kernel_lines(best) if "cause" in line] == list(causes)


def test_the_last_lines_of_a_run_are_said_again_once_it_has_ended(made):
    assert result_lines(made.folder, made.store.root) == []
    finish(made)
    lines = result_lines(made.folder, made.store.root)
    assert any(line.startswith("best kernel    r1a0s0 (kopt-rewrite)") for line in lines)
    assert lines[-2:] == [f"kernel         {made.folder}/best_kernel.py", f"report         {made.folder}/report.html"]
    assert any(line.startswith("speedup        7.13x seed estimated") for line in lines)
