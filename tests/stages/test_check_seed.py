"""The seed kernel is tried before a search starts."""

from __future__ import annotations

from pathlib import Path

import pytest

from kopt.errors import ProblemError
from kopt.load_config import load_device
from kopt.model.build import Phase
from kopt.model.options import JudgeOptions
from kopt.model.trial import BuildRow
from kopt.model.verdict import Failed, Incorrect, Passed
from kopt.preflight.check_seed import SeedCheck, refuse, try_seed
from kopt.problem import folder

ROOT = Path(__file__).resolve().parents[2]
BUILT = BuildRow(round=0, attempt=0, slot=0, kernel="k", status="built", fingerprint="f", build="b")
PASSED = Passed(judge="interpret", checks=())
WRONG = Incorrect(judge="interpret", reason="element 0 is 2.0,\nnot 1.0")


def failed(phase):
    return Failed(judge="interpret", phase=phase, reason="because")


@pytest.mark.parametrize("measures", [False, True])
def test_a_wrong_seed_is_refused_on_one_line(measures):
    with pytest.raises(ProblemError, match=r"fix kernel\.py: incorrect: element 0 is 2\.0, not 1\.0$"):
        refuse(BUILT, WRONG, measures=measures)


def test_a_seed_that_kopt_made_is_no_fault_of_the_user():
    with pytest.raises(
        ProblemError, match=r"kopt made .*: incorrect: element 0 .*; write kernel\.py .*or set `tolerance`"
    ) as said:
        refuse(BUILT, WRONG, measures=False, made=True)
    assert "fix kernel.py" not in str(said.value)
    with pytest.raises(ProblemError, match=r"kopt made .*: launch: because; write kernel\.py \(docs/problems\.md\)$"):
        refuse(BUILT, failed(Phase.LAUNCH), measures=False, made=True)


@pytest.mark.parametrize("measures", [False, True])
def test_a_right_seed_is_not_refused(measures):
    refuse(BUILT, PASSED, measures=measures)


def test_a_seed_that_does_not_build_is_refused():
    row = BUILT.model_copy(update={"status": "failed", "phase": "compile", "reason": "because"})
    with pytest.raises(ProblemError, match="compile: because"):
        refuse(row, None, measures=False)


@pytest.mark.parametrize("phase", [Phase.INTERPRET, Phase.TIMEOUT, Phase.CRASH])
def test_what_only_the_interpreter_cannot_run_is_left_to_a_gpu(phase):
    refuse(BUILT, failed(phase), measures=True)
    with pytest.raises(ProblemError, match=f"{phase.value}: because"):
        refuse(BUILT, failed(phase), measures=False)


def test_a_seed_that_computes_with_torch_is_refused_on_a_gpu_too():
    with pytest.raises(ProblemError, match="fallback: because"):
        refuse(BUILT, failed(Phase.FALLBACK), measures=True)


def check(store, judge_seconds):
    return SeedCheck(
        problem=folder.load(ROOT / "config/problems/softmax"), device=load_device("h100", ROOT), store=store,
        options=JudgeOptions(seed=1, judge_seconds=judge_seconds), build_seconds=120.0, measures=False,
    )  # fmt: skip


def test_a_timeout_refuses_and_is_not_kept_so_that_the_next_call_tries_again(tmp_path, capfd):
    with pytest.raises(ProblemError, match=r"cannot be used, fix kernel\.py: timeout: "):
        try_seed(check(tmp_path, 0.05))
    assert not list(tmp_path.glob("verdict/**/*.json"))
    try_seed(check(tmp_path, 120.0))
    assert len(list(tmp_path.glob("verdict/**/*.json"))) == 1
    try_seed(check(tmp_path, 120.0))
    assert capfd.readouterr().err.count("checking the seed kernel") == 2
