"""What the judge on a GPU keeps, and what it finds again."""

from pathlib import Path

import pytest
from kopt.stages.evaluate_cuda import Plan, Records

from kopt.device.cuda.race import JudgedKernel
from kopt.load_config import load_device
from kopt.model.build import Phase
from kopt.model.environment import Environment
from kopt.model.timing import Measured, WorkloadTiming
from kopt.model.trial import BuildRow
from kopt.model.verdict import Failed, Incorrect, Passed
from kopt.problem.folder import load
from kopt.store import Store

ROOT = Path(__file__).resolve().parents[2]
PLAN = Plan(seed=0, workers=8, seconds=90, wait_s=60, warmup=25, repeat=100)
ROW = BuildRow(round=1, attempt=0, slot=3, kernel="k", status="built", fingerprint="f", build="b", chunk=0)
FIRST, SECOND = (
    Environment(gpu="H100", uuid=f"GPU-{at}", driver="580", torch="2.11", triton="3.6", evaluator="e") for at in "12"
)
PASSED = Passed(judge="cuda", checks=())


def timing(where: Environment) -> Measured:
    one = WorkloadTiming(workload="w", median_ms=1.0, low_ms=0.9, high_ms=1.1, samples_ms=(1.0,), floor_ms=0.5)
    return Measured(device="H100", workloads=(one,), environment=where)


@pytest.fixture
def records(tmp_path):
    """Records as a job finds them that has these GPUs at hand."""
    problem, device = load(ROOT / "config/problems/softmax"), load_device("h100", ROOT)
    return lambda *here, plan=PLAN: Records(problem, device, Store(tmp_path), plan, here)


def test_a_verdict_and_a_time_are_found_again_on_the_same_device(records):
    kept = records(FIRST).keep(ROW, JudgedKernel(verdict=PASSED, timing=timing(FIRST)))
    assert records(FIRST).known(ROW) == kept
    assert records(SECOND, FIRST).known(ROW) == kept


def test_a_time_of_another_device_does_not_count(records):
    records(FIRST).keep(ROW, JudgedKernel(verdict=PASSED, timing=timing(FIRST)))
    assert records(SECOND).known(ROW) is None
    assert records().known(ROW) is None


def test_a_time_of_another_length_does_not_count(records):
    records(FIRST).keep(ROW, JudgedKernel(verdict=PASSED, timing=timing(FIRST)))
    assert records(FIRST, plan=PLAN.model_copy(update={"repeat": 50})).known(ROW) is None


def test_a_source_with_the_fingerprint_of_another_shares_its_time_and_not_its_verdict(records):
    records(FIRST).keep(ROW, JudgedKernel(verdict=PASSED, timing=timing(FIRST)))
    twin = ROW.model_copy(update={"kernel": "twin"})
    assert records(FIRST).timing(twin) == timing(FIRST)
    assert records(FIRST).known(twin) is None


def test_a_wrong_kernel_is_not_judged_again(records):
    wrong = Incorrect(judge="cuda", reason="off by one", checks=())
    records(FIRST).keep(ROW, JudgedKernel(verdict=wrong))
    known = records(SECOND).known(ROW)
    assert (known.verdict, known.timing) == (wrong, None)


@pytest.mark.parametrize("phase", [Phase.TIMEOUT, Phase.CRASH, Phase.ROOFLINE])
def test_what_the_machine_may_be_to_blame_for_is_tried_again(records, phase):
    told = records(FIRST).keep(ROW, JudgedKernel(verdict=Failed(judge="cuda", phase=phase, reason="it did")))
    assert told.verdict.phase == phase
    assert records(FIRST).known(ROW) is None
