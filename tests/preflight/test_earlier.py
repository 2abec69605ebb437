"""What a start says of the results that it replaces, and which it calls the faster ones."""

from pathlib import Path

import pytest

from kopt.artifact import write_text, write_value
from kopt.config import Config
from kopt.errors import ConfigError
from kopt.load_config import load_device
from kopt.problem import folder
from kopt.report.record import FinalFigures
from kopt.run.earlier import BEST, FINAL, MANIFEST, PROBLEM, after, keep, replacing
from kopt.run.manifest import Manifest, configuration_of

ROOT = Path(__file__).parents[2]
CONFIG = Config(problem="softmax", judge="interpret", run="r")
SOFTMAX = folder.load(ROOT / "config" / "problems" / "softmax")


def end(run, config=CONFIG, problem=SOFTMAX, ms=0.5, kernel="# a kernel\n"):
    """Leave what a search leaves that has ended."""
    figures = FinalFigures(
        best_name="r1a0s0", best_ms=ms, seed_ms=1.0, speedup=1.0 / ms, estimated=True, roofline_share=0.5
    )
    device = load_device("h100", ROOT)
    manifest = Manifest(run="r", configuration=configuration_of(config), versions={}, device=device, kernels={})
    for name, value in ((FINAL, figures), (MANIFEST, manifest), (PROBLEM, problem)):
        write_value(run / name, value)
    write_text(run / BEST, kernel)
    return run


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
    edited = SOFTMAX.model_copy(update={"reference": SOFTMAX.reference + "\nEDITED = 1\n"})
    assert "differs in the problem, which was edited: " in replacing(run, CONFIG, edited)
    without = SOFTMAX.model_copy(update={"seed": SOFTMAX.seed.model_copy(update={"source": ""})})
    assert replacing(run, CONFIG, without) == ""


def test_a_run_that_has_not_ended_has_nothing_to_keep(tmp_path):
    assert replacing(tmp_path, CONFIG, SOFTMAX) == ""
    assert keep(tmp_path) is None


def test_the_faster_earlier_result_is_named_when_the_run_has_ended(tmp_path):
    kept = keep(end(tmp_path, ms=0.5))
    end(tmp_path, ms=0.8, kernel="# another\n")
    assert after(tmp_path, kept) == (
        f"the earlier result was faster, 0.5000 ms estimated where this one takes 0.8000 ms estimated: {kept}/{BEST}"
    )
    end(tmp_path, ms=0.4, kernel="# a third\n")
    assert after(tmp_path, kept) == ""
    assert (kept / BEST).read_text() == "# a kernel\n"


def test_times_of_another_problem_or_judge_are_not_compared(tmp_path):
    kept = keep(end(tmp_path, ms=0.5))
    end(tmp_path, CONFIG.model_copy(update={"judge": "cuda"}), ms=0.8)
    assert after(tmp_path, kept) == ""
    end(tmp_path, problem=SOFTMAX.model_copy(update={"reference": "# another"}), ms=0.8)
    assert after(tmp_path, kept) == ""


def test_the_same_result_once_more_is_kept_once(tmp_path):
    kept = keep(end(tmp_path))
    assert keep(tmp_path) == kept
    assert after(tmp_path, kept) == ""
    assert not kept.exists()


def test_results_that_cannot_be_kept_end_the_start(tmp_path, monkeypatch):
    end(tmp_path)
    monkeypatch.setattr(Path, "rename", lambda *_: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    with pytest.raises(ConfigError, match=r"cannot be kept in .*earlier_1 .*\(No space left on device\): make room"):
        keep(tmp_path)
    assert [path.name for path in tmp_path.glob("*earlier*")] == []
