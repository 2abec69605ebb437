"""A search started again under its name keeps its earlier results, says where, and says which are faster."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from kopt.artifact import write_text, write_value
from kopt.config import Config
from kopt.errors import ConfigError
from kopt.load_config import load_device
from kopt.problem import folder
from kopt.report.record import FinalFigures
from kopt.run.earlier import BEST, FINAL, KEPT, MANIFEST, PROBLEM, Kept, after, keep, replacing
from kopt.run.manifest import Manifest, configuration_of
from kopt.run.started import hold

ROOT = Path(__file__).parents[2]
CONFIG = Config(problem="softmax", judge="interpret", run="r")
SOFTMAX = folder.load(ROOT / "config" / "problems" / "softmax")
FEWER = CONFIG.model_copy(update={"rounds": 3})
EDITED = SOFTMAX.model_copy(update={"reference": SOFTMAX.reference + "\nEDITED = 1\n"})


def end(run, config=CONFIG, problem=SOFTMAX, ms=0.5, kernel="# a kernel\n", trials="trials"):
    """Leave what a search leaves that has ended."""
    figures = FinalFigures(
        best_name="r1a0s0", best_ms=ms, seed_ms=1.0, speedup=1.0 / ms, estimated=True, roofline_share=0.5
    )
    device = load_device("h100", ROOT)
    manifest = Manifest(run="r", configuration=configuration_of(config), versions={}, device=device, kernels={})
    write_value(run / PROBLEM, problem)
    for name, text in ((BEST, kernel), ("trials.parquet", trials), ("report.html", f"report of {trials}")):
        write_text(run / name, text)
    write_value(run / FINAL, figures)
    write_value(run / MANIFEST, manifest)
    return run


def begin_and_stop(run, problem):
    """Leave what a start leaves that is interrupted behind its first step; return what it has kept."""
    kept = keep(run)
    write_value(run / PROBLEM, problem)
    date(run / PROBLEM, behind=run / MANIFEST)
    return kept


def date(path, *, behind):
    later = behind.stat().st_mtime_ns + 10**9
    os.utime(path, ns=(later, later))


def texts(folder):
    return {name: (folder / name).read_bytes() for name in KEPT}


def folders(run):
    return sorted(path.name for path in run.glob("*earlier*"))


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"rounds": 3}, "rounds (8 -> 3)"),
        ({"judge": "cuda"}, "judge (interpret -> cuda)"),
        ({"seed": 1}, "seed (0 -> 1)"),
        ({"models": ("kopt-echo",)}, 'models (["kopt-rewrite"] -> ["kopt-echo"])'),
    ],
)
def test_a_start_names_what_it_changes_in_a_run_that_has_ended(tmp_path, changed, said):
    note = replacing(end(tmp_path), CONFIG.model_copy(update=changed), SOFTMAX)
    assert note.startswith(f"{tmp_path} holds a finished search (0.5000 ms estimated), from which this one differs in")
    assert f"differs in {said}: its results are kept in {tmp_path}/earlier_1 before they are replaced" in note


@pytest.mark.parametrize(
    "moved", [{"store": "elsewhere"}, {"results": "other"}, {"chunk_size": 3}, {"warm": False}, {}]
)
def test_a_start_that_changes_no_result_says_nothing(tmp_path, moved):
    assert replacing(end(tmp_path), CONFIG.model_copy(update=moved), SOFTMAX) == ""


def test_an_edited_problem_is_named_and_a_seed_that_kopt_makes_is_none(tmp_path):
    run = end(tmp_path)
    assert "differs in the problem, which was edited: " in replacing(run, CONFIG, EDITED)
    without = SOFTMAX.model_copy(update={"seed": SOFTMAX.seed.model_copy(update={"source": ""})})
    assert replacing(run, CONFIG, without) == ""


def test_a_run_that_has_not_ended_has_nothing_to_keep(tmp_path):
    assert replacing(tmp_path, CONFIG, SOFTMAX) == ""
    assert keep(tmp_path) is None


def test_the_faster_earlier_result_is_named_when_the_run_has_ended(tmp_path):
    kept = keep(end(tmp_path, ms=0.5))
    end(tmp_path, ms=0.8, kernel="# another\n")
    assert after(tmp_path, kept) == (
        "the earlier result was faster, 0.5000 ms estimated where this one takes 0.8000 ms estimated: "
        f"{kept.folder / BEST}"
    )
    end(tmp_path, ms=0.4, kernel="# a third\n")
    assert after(tmp_path, kept) == ""
    assert (kept.folder / BEST).read_text() == "# a kernel\n"


def test_times_of_another_problem_or_judge_are_not_compared(tmp_path):
    kept = keep(end(tmp_path, ms=0.5))
    end(tmp_path, CONFIG.model_copy(update={"judge": "cuda"}), ms=0.8)
    assert after(tmp_path, kept) == ""
    end(tmp_path, problem=SOFTMAX.model_copy(update={"reference": "# another"}), ms=0.8)
    assert after(tmp_path, kept) == ""


def test_what_a_start_kept_is_removed_where_the_run_has_made_the_same_again(tmp_path):
    kept = keep(end(tmp_path))
    assert kept == Kept(tmp_path / "earlier_1", made=True)
    assert texts(kept.folder) == texts(tmp_path)
    end(tmp_path)
    assert after(tmp_path, kept) == ""
    assert folders(tmp_path) == []


@pytest.mark.parametrize("name", KEPT)
def test_what_a_start_kept_stays_where_any_file_differs_or_is_missing(tmp_path, name):
    kept = keep(end(tmp_path))
    before = texts(kept.folder)
    path = tmp_path / name
    path.write_bytes(path.read_bytes() + b"\n")
    after(tmp_path, kept)
    path.unlink()
    after(tmp_path, kept)
    assert texts(kept.folder) == before


def test_the_trials_of_a_longer_search_stay_where_a_shorter_one_finds_the_same_kernel(tmp_path):
    kept = keep(end(tmp_path, trials="8 rounds"))
    end(tmp_path, FEWER, trials="3 rounds")
    assert after(tmp_path, kept) == ""
    assert (kept.folder / "trials.parquet").read_text() == "8 rounds"
    assert keep(tmp_path) == Kept(tmp_path / "earlier_2", made=True)


def test_what_an_earlier_start_kept_is_never_removed(tmp_path):
    keep(end(tmp_path))
    again = keep(tmp_path)
    assert again == Kept(tmp_path / "earlier_1", made=False)
    assert after(tmp_path, again) == ""
    assert folders(tmp_path) == ["earlier_1"]


def test_results_whose_report_alone_was_written_anew_are_held_already(tmp_path):
    kept = keep(end(tmp_path))
    (tmp_path / "report.html").write_text("other times of jobs")
    assert keep(tmp_path) == Kept(kept.folder, made=False)


def test_a_folder_in_which_somebody_put_a_file_is_not_removed(tmp_path):
    kept = keep(end(tmp_path))
    (kept.folder / "notes.txt").touch()
    after(tmp_path, kept)
    assert folders(tmp_path) == ["earlier_1"]


def test_a_note_names_the_folder_that_is_used(tmp_path):
    keep(end(tmp_path))
    end(tmp_path, FEWER)
    assert f"its results are kept in {tmp_path}/earlier_2 before they are replaced" in replacing(
        tmp_path, CONFIG, SOFTMAX
    )
    assert keep(tmp_path).folder == tmp_path / "earlier_2"
    end(tmp_path)
    assert f"its results are in {tmp_path}/earlier_1 already; to leave" in replacing(tmp_path, FEWER, SOFTMAX)
    assert keep(tmp_path).folder == tmp_path / "earlier_1"


def test_a_start_that_was_interrupted_and_goes_on_says_where_the_results_are(tmp_path):
    begin_and_stop(end(tmp_path), SOFTMAX)
    note = replacing(tmp_path, FEWER, SOFTMAX)
    assert f"differs in rounds (8 -> 3): its results are in {tmp_path}/earlier_1 already; to leave" in note
    assert keep(tmp_path) == Kept(tmp_path / "earlier_1", made=False)
    end(tmp_path, FEWER, trials="3 rounds")
    assert replacing(tmp_path, FEWER, SOFTMAX) == ""


@pytest.mark.parametrize("written", [True, False])
def test_an_edited_problem_is_named_though_an_interrupted_start_has_replaced_the_old_one(tmp_path, written):
    kept = begin_and_stop(end(tmp_path), EDITED)
    if not written:
        (tmp_path / PROBLEM).unlink()
    note = replacing(tmp_path, CONFIG, EDITED)
    assert f"differs in the problem, which was edited: its results are in {kept.folder} already" in note
    assert replacing(tmp_path, CONFIG, SOFTMAX) == ""
    assert keep(tmp_path) == Kept(kept.folder, made=False)


def test_the_same_results_of_another_problem_are_kept_beside_them(tmp_path):
    keep(end(tmp_path))
    assert keep(end(tmp_path, problem=EDITED)) == Kept(tmp_path / "earlier_2", made=True)


def test_a_copy_that_a_killed_start_left_is_removed_by_the_next_that_holds_the_run(tmp_path):
    end(tmp_path)
    killed = (
        "import os, sys; from pathlib import Path; from kopt.run.earlier import keep; "
        "Path.rename = lambda *_: os.kill(os.getpid(), 9); keep(Path(sys.argv[1]))"
    )
    done = subprocess.run([sys.executable, "-c", killed, tmp_path], cwd=ROOT, check=False)
    assert done.returncode == -signal.SIGKILL
    (left,) = folders(tmp_path)
    assert left.startswith(".earlier_")
    keep(tmp_path)
    assert folders(tmp_path) == [left, "earlier_1"]
    hold(tmp_path)
    keep(tmp_path)
    assert folders(tmp_path) == ["earlier_1"]


def test_results_that_cannot_be_kept_end_the_start(tmp_path, monkeypatch):
    end(tmp_path)
    monkeypatch.setattr(Path, "rename", lambda *_: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    with pytest.raises(ConfigError, match=r"cannot be kept in .*earlier_1 .*\(No space left on device\): make room"):
        keep(tmp_path)
    assert [path.name for path in tmp_path.glob("*earlier*")] == []


def with_rounds(run, last, text="a table"):
    """Add rounds, and the logs of their jobs, to a run's folder."""
    for number in range(last + 1):
        write_text(run / f"round_{number}" / "attempt_0" / "candidates.parquet", f"{text} of round {number}")
        write_text(run / "logs" / f"round_{number}" / "select.log", "")
    return run


def rounds_of(folder):
    return sorted(path.name for path in folder.glob("round_*"))


def test_rounds_that_a_start_does_not_have_move_to_the_earlier_results_whose_other_rounds_are_copied(tmp_path):
    kept = keep(with_rounds(end(tmp_path), 3), 1)
    assert rounds_of(tmp_path) == rounds_of(tmp_path / "logs") == ["round_0", "round_1"]
    assert rounds_of(kept.folder) == ["round_0", "round_1", "round_2", "round_3"]
    assert rounds_of(kept.folder / "logs") == ["round_2", "round_3"]
    assert (kept.folder / "round_3/attempt_0/candidates.parquet").read_text() == "a table of round 3"


def test_a_start_with_as_many_rounds_moves_none(tmp_path):
    keep(with_rounds(end(tmp_path), 2), 2)
    assert rounds_of(tmp_path) == ["round_0", "round_1", "round_2"]


def test_rounds_that_were_made_again_leave_the_run_where_the_earlier_results_have_them_and_others_stay(tmp_path):
    kept = keep(with_rounds(end(tmp_path), 2), 1)
    with_rounds(tmp_path, 2)
    assert keep(tmp_path, 1) == Kept(kept.folder, made=False)
    assert rounds_of(tmp_path) == ["round_0", "round_1"]
    with_rounds(tmp_path, 2, "a table of a search that was interrupted")
    keep(tmp_path, 1)
    assert rounds_of(tmp_path) == ["round_0", "round_1", "round_2"]
    assert (kept.folder / "round_2/attempt_0/candidates.parquet").read_text() == "a table of round 2"


def test_what_a_start_kept_with_rounds_is_removed_where_the_run_has_made_the_same_again(tmp_path):
    kept = keep(with_rounds(end(tmp_path), 2), 2)
    assert after(tmp_path, kept) == ""
    assert folders(tmp_path) == []
