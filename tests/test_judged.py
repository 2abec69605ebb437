"""A kernel that passed has a time and no other kernel has one: in a judge's answer, in a row, in a table on disk."""

import pytest
from pydantic import ValidationError

from kopt import artifact
from kopt.errors import TableError
from kopt.model.judged import JudgedRight, JudgedWrong
from kopt.model.timing import Estimated, WorkloadEstimate
from kopt.model.trial import EvaluationRow
from kopt.model.verdict import Incorrect, Passed

PASSED = Passed(judge="interpret", checks=())
INCORRECT = Incorrect(judge="interpret", reason="off by one")
TIMING = Estimated(
    device="h100",
    workloads=(
        WorkloadEstimate(
            workload="main", ms=2.0, memory_ms=2.0, compute_ms=0.0, launch_ms=0.0, floor_ms=1.0, bound="memory"
        ),
    ),
)
PLACE = {"round": 1, "attempt": 0, "slot": 2, "kernel": "k" * 64, "fingerprint": "f", "judge": "interpret"}
TIMED = {"time_ms": 2.0, "roofline_share": 0.5}


def test_a_judge_answers_right_with_a_time_or_wrong_without_one():
    assert JudgedRight(verdict=PASSED, timing=TIMING, evaluation="e").timing.objective_ms == pytest.approx(2.0)
    assert JudgedWrong(verdict=INCORRECT, evaluation="e").verdict == INCORRECT


@pytest.mark.parametrize(
    ("answer", "fields"),
    [
        (JudgedRight, {"verdict": PASSED}),
        (JudgedRight, {"verdict": PASSED, "timing": None}),
        (JudgedRight, {"verdict": INCORRECT, "timing": TIMING}),
        (JudgedWrong, {"verdict": PASSED}),
        (JudgedWrong, {"verdict": INCORRECT, "timing": TIMING}),
    ],
    ids=["right, no time", "right, time None", "right, but incorrect", "wrong, but passed", "wrong, with a time"],
)
def test_no_other_answer_can_be_written(answer, fields):
    with pytest.raises(ValidationError):
        answer(**fields, evaluation="e")


@pytest.mark.parametrize(
    "fields",
    [{"verdict": "passed"} | TIMED, {"verdict": "incorrect"}, {"verdict": "failed"}],
    ids=lambda f: f["verdict"],
)
def test_a_row_survives_its_table(tmp_path, fields):
    row = EvaluationRow(**PLACE, **fields)
    artifact.write_table(tmp_path / "t", [row], EvaluationRow)
    assert artifact.read_table(tmp_path / "t", EvaluationRow) == [row]


WRONG_ROWS = [
    {"verdict": "passed"},
    {"verdict": "passed", "time_ms": 2.0},
    {"verdict": "passed", "roofline_share": 0.5},
    {"verdict": "incorrect", "time_ms": 2.0},
    {"verdict": "failed", "roofline_share": 0.5},
    {"verdict": "failed", "low_ms": 1.0},
    {"verdict": "failed", "high_ms": 3.0},
]


@pytest.mark.parametrize("fields", WRONG_ROWS, ids=str)
def test_no_other_row_can_be_written(fields):
    with pytest.raises(
        ValidationError, match=r"kernel kkkkkkkkkkkk (passed and has no time|did not pass .* has a time)"
    ):
        EvaluationRow(**PLACE, **fields)


def test_a_table_with_such_a_row_is_refused_in_one_line(tmp_path):
    rows = [EvaluationRow.model_construct(**PLACE, verdict="passed")]
    artifact.write_table(tmp_path / "t", rows, EvaluationRow)
    with pytest.raises(TableError, match=r"wrong row: delete it and run again \(.*passed and has no time\)") as caught:
        artifact.read_table(tmp_path / "t", EvaluationRow)
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize("ms", [0.0, -1.0, float("inf"), float("nan")])
def test_no_row_has_an_impossible_time(ms):
    with pytest.raises(ValidationError, match="impossible time"):
        EvaluationRow(**PLACE, verdict="passed", time_ms=ms, roofline_share=0.5)
