"""How far a run is follows from its files: while it works, when it was stopped, when it failed, when it ended."""

import json
import signal
import subprocess
import sys

import pytest

from kopt.artifact import write_text
from kopt.cli import main
from kopt.report.status_lines import duration, status_lines
from kopt.run.progress import Progress
from kopt.run.so_far import read_so_far
from kopt.run.started import STARTED, is_working
from kopt.run.status import status_of
from tests.report.made_up_run import SEED_MS
from tests.view.hand_made_run import dated, finish, write_started

STARTS = """
import sys, time
from pathlib import Path
from kopt.config import Config
from kopt.run.started import record_start
record_start(Path(sys.argv[1]), ["/usr/bin/snakemake", "--cores", "2"], Config(problem="softmax"))
print("started", flush=True)
time.sleep(60)
"""


def status(made, **fields):
    return status_of(read_so_far(made.folder), **fields)


def without(made, *names):
    for name in names:
        (made.folder / name).unlink()


def test_a_process_that_started_a_run_counts_as_working_until_it_is_killed(tmp_path):
    process = subprocess.Popen([sys.executable, "-c", STARTS, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "started\n"
    assert is_working(tmp_path) is True
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert is_working(tmp_path) is False
    assert is_working(tmp_path / "nowhere") is None


def test_the_process_itself_may_ask_and_keeps_its_lock(tmp_path):
    asks = STARTS.replace("print(", "from kopt.run.started import is_working; print(is_working(Path(sys.argv[1])), ")
    process = subprocess.Popen([sys.executable, "-c", asks, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "True started\n"
    assert is_working(tmp_path) is True
    process.kill()
    process.wait()


def test_a_start_keeps_the_time_of_the_first_one(made):
    done = subprocess.run([sys.executable, "-c", STARTS.replace("sleep(60)", "sleep(0)"), str(made.folder)], check=True)
    record = json.loads((made.folder / STARTED).read_text())
    assert done.returncode == 0
    assert record["first"] == 1e9
    assert record["moment"] > 1e9
    assert record["words"] == ["snakemake", "--cores", "2"]


def test_a_run_that_ended_is_finished(made):
    finish(made)
    found = status(made)
    assert (found.state, found.phase, found.steps_done) == ("finished", "", found.steps)
    assert (found.best.name, found.best.speedup, found.best.estimated) == ("r1a0s0", SEED_MS, True)
    assert "kopt show" in "\n".join(status_lines(found))
    first = found.counts[0].model_copy(update={"passed": 4, "repaired": 2})
    far = found.best.model_copy(update={"ms": 1.0, "roofline_share": 0.003, "ample_ms": 0.0})
    text = "\n".join(status_lines(found.model_copy(update={"counts": (first,), "best": far})))
    assert "4 passed (2 after a repair)" in text
    assert "attention      the best kernel is far from the hardware's limit: 0.3 % of the roofline" in text


def test_a_run_that_goes_on_tells_the_time_that_is_left(made):
    without(made, "round_1/round.json")
    write_started(made, locked=False)
    dated(made, 1e9 + 50)
    found = status(made, now=1e9 + 60)
    assert found.left_seconds == pytest.approx(60 / found.steps_done * (found.steps - found.steps_done))
    assert f"about {round(found.left_seconds)} s left" in "\n".join(status_lines(found))
    dated(made, 1e9 - 50)  # made before the last start
    assert status(made, now=1e9 + 60).left_seconds is None


def test_a_round_counts_what_was_proposed_built_passed_and_failed_by_phase(made):
    finish(made)
    (counts,) = status(made).counts
    assert (counts.slots, counts.proposed, counts.built, counts.judged, counts.passed) == (3, 3, 2, 3, 1)
    assert counts.failures == {"wrong result": 1, "syntax error": 1}
    lines = "\n".join(status_lines(status(made)))
    assert "3 slots: 3 proposed (repairs included), 2 built (0 duplicates), 3 judged, 1 passed" in lines
    assert "1 passed; failed: 1 syntax error, 1 wrong result; best " in lines


@pytest.mark.parametrize(
    ("missing", "phase", "passed"),
    [
        (("round.json", "selection.parquet"), "select", 1),
        (("attempt_0/evaluation_0.parquet",), "judge", 0),
        (("attempt_0/builds.parquet", "attempt_0/evaluation_0.parquet"), "build", 0),
        (("attempt_0/candidates.parquet",), "propose", 0),
    ],
)
def test_a_run_that_was_stopped_tells_its_phase_and_what_to_type(made, missing, phase, passed):
    without(made, *(f"round_1/{name}" for name in missing))
    found = status(made)
    assert (found.state, found.round, found.phase) == ("stopped", 1, phase)
    assert found.counts[0].passed == passed
    assert found.command == "snakemake --cores 2 --config problem=scale run=run"
    assert found.best.selected is (not passed)


def test_the_best_kernel_of_a_round_that_goes_on_is_said_to_be_not_yet_ranked(made):
    without(made, "round_1/round.json")
    found = status(made)
    assert (found.best.name, found.best.ms) == ("r1a0s0", 1.0)
    assert "not yet ranked" in "\n".join(status_lines(found))


def test_a_log_that_ends_with_an_error_says_that_the_run_failed(made):
    without(made, "round_1/round.json")
    write_text(made.folder / "logs/round_1/select.log", "2026 INFO kopt: kopt: error: no space\x1b[2J left\n")
    found = status(made)
    assert (found.state, found.error) == ("failed", "no space\x1b[2J left")
    text = "\n".join(status_lines(found))
    assert "no space left" in text
    assert "\x1b" not in text


def test_an_error_of_an_earlier_start_is_none_of_this_one(made):
    without(made, "round_1/round.json")
    write_text(made.folder / "logs/round_1/select.log", "kopt: error: no space left\n")
    dated(made, 1e9 - 1)
    assert status(made).state == "stopped"


@pytest.mark.parametrize(("age", "state"), [(5, "going on"), (5000, "stopped")])
def test_where_locks_are_unknown_the_age_of_the_files_decides_and_that_is_said(made, age, state):
    without(made, "round_1/round.json")
    write_started(made, locked=False)
    dated(made, 2e9)
    found = status(made, now=2e9 + age)
    assert (found.state, found.known) == (state, False)
    assert "seem" in status_lines(found)[0]


def test_before_the_first_file_there_is_a_status_too(made):
    for path in sorted(made.folder.rglob("*"), reverse=True):
        if path.name != STARTED:
            path.rmdir() if path.is_dir() else path.unlink()
    found = status(made)
    assert (found.phase, found.best, found.counts) == ("problem", None, ())
    assert "round 0 of 1" in status_lines(found)[0]


def test_files_of_a_round_beyond_the_first_that_is_not_complete_do_not_count(made):
    without(made, "round_0/selection.parquet")
    found = status(made)
    assert (found.round, found.phase, found.counts) == (0, "select", ())


def test_a_torn_ledger_line_is_passed_over(made):
    line = {
        "event": "settled", "call": "a", "request": "b", "label": "r1a0s0", "model": "m", "status": "answered",
        "usage": {"input": 1, "output": 1, "dollars": 0.25},
    }  # fmt: skip
    (made.folder / "ledger.jsonl").write_text(json.dumps(line) + "\n" + json.dumps(line)[:40])
    assert status(made).cost.paid_usd == 0.25
    assert not (made.folder / "ledger.jsonl.lock").exists()


@pytest.mark.parametrize("word", ["run", "results/run", "./results/run"])
def test_the_command_takes_a_folder_or_a_name_and_needs_no_store(made, word, capsys):
    made.store.root.rename(made.store.root.with_name("away"))
    assert main(["status", word, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["best"]["name"] == "r1a0s0"


def test_without_a_word_all_runs_have_a_line(made, capsys, monkeypatch):
    finish(made)
    assert main(["status"]) == 0
    assert capsys.readouterr().out.startswith(
        "run            finished, 1 round, 17 of 17 steps done; best 1.0000 ms est"
    )
    monkeypatch.chdir(made.store.root)
    assert main(["status"]) == 2
    assert "holds no run" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("word", "said"),
    [("rum", "did you mean 'run'"), ("nothing", "runs here are run"), ("results/store", "holds no run")],
)
def test_a_word_that_names_no_run_is_said(made, word, said, capsys):
    assert main(["status", word]) == 2
    assert said in capsys.readouterr().err


def test_status_writes_nothing_into_the_run(made):
    def files():
        return {(path, path.stat().st_mtime_ns) for path in made.folder.rglob("*")}

    before = files()
    assert main(["status", "run"]) == 0
    assert files() == before


def test_the_command_to_go_on_names_the_folder_of_the_start(made, monkeypatch):
    without(made, "round_1/round.json")
    monkeypatch.chdir("/")
    assert status(made).command.startswith(f"cd {made.folder.parents[1]} && snakemake ")


def test_a_lock_that_was_left_is_said(made):
    without(made, "round_1/round.json")
    locks = made.folder.parents[1] / ".snakemake" / "locks"
    locks.mkdir(parents=True)
    (locks / "0.output.lock").write_text("results/run/round_1/round.json\n")
    lines = status_lines(status(made))
    assert "unlock first   snakemake --cores 2 --config problem=scale run=run --unlock" in lines
    assert lines[-1] == "go on          snakemake --cores 2 --config problem=scale run=run"


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, "0 s"), (59.7, "1 min 0 s"), (200, "3 min 20 s"), (7500, "2 h 5 min")]
)
def test_durations_are_written_for_people(seconds, text):
    assert duration(seconds) == text


def test_the_line_of_a_search_that_goes_on_is_read_as_often_as_it_may_cost(made):
    moments = iter([0.0, 0.5, 3.0, 11.0, 11.5, 30.0, 30.1])
    progress = Progress(made.folder, clock=lambda: next(moments))
    without(made, "round_1/selection.parquet")
    first = progress()
    done = status(made).steps_done
    assert first.startswith(f"round 1/1 · selecting 2/3 · {done}/{status(made).steps} steps · best ")
    finish(made)
    assert progress() == first  # half a second of reading: not before ten seconds
    assert f"{status(made).steps_done}/{status(made).steps} steps" in progress()
