"""What the judge on a GPU keeps, and what it finds again."""

from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace

import pytest

from kopt.backends import cuda_judge
from kopt.backends.backend import Rivals
from kopt.backends.cuda_judge import Records
from kopt.device.cuda.race import JudgedKernel
from kopt.errors import DeviceError
from kopt.jobs.target import ProblemOnTarget
from kopt.load_config import load_device
from kopt.model.build import Phase
from kopt.model.environment import Environment
from kopt.model.judged import JudgedWrong
from kopt.model.options import JudgeOptions, MeasureOptions
from kopt.model.problem import ProblemFacts
from kopt.model.timing import Measured, WorkloadTiming
from kopt.model.trial import BuildRow
from kopt.model.verdict import Failed, Incorrect, Passed
from kopt.problem.folder import load
from kopt.store import Store

ROOT = Path(__file__).resolve().parents[2]
MEASURE = MeasureOptions(benchmark_warmup=25, benchmark_repeat=100, workers_per_gpu=8, gpu_wait_seconds=60)
OPTIONS = JudgeOptions(seed=0, judge_seconds=90, measure=MEASURE)
ROW = BuildRow(round=1, attempt=0, slot=3, kernel="k", status="built", fingerprint="f", build="b", chunk=0)
FIRST, SECOND = (
    Environment(gpu="H100", uuid=f"GPU-{at}", driver="580", torch="2.11", triton="3.6", evaluator="e") for at in "12"
)
PASSED = Passed(judge="cuda", checks=())


def timing(where: Environment) -> Measured:
    one = WorkloadTiming(workload="w", median_ms=1.0, low_ms=0.9, high_ms=1.1, samples_ms=(1.0,), floor_ms=0.5)
    return Measured(device="H100", workloads=(one,), environment=where)


@pytest.fixture
def target(tmp_path):
    problem, device = load(ROOT / "config/problems/softmax"), load_device("h100", ROOT)
    return ProblemOnTarget(problem, ProblemFacts(dtype=problem.dtype, workloads=()), device, Store(tmp_path))


@pytest.fixture
def records(target):
    """Records as a job finds them that has these GPUs at hand."""
    return lambda *here, options=OPTIONS: Records(target, options, here)


def test_a_verdict_and_a_time_are_found_again_on_the_same_device(records):
    kept = records(FIRST).keep(ROW, JudgedKernel(verdict=PASSED, timing=timing(FIRST)))
    assert records(FIRST).known(ROW) == kept
    assert records(SECOND, FIRST).known(ROW) == kept


def test_verdicts_are_written_when_the_gpu_is_given_back_those_before_an_error_too(records, target, monkeypatch):
    rows = [ROW, ROW.model_copy(update={"kernel": "other", "slot": 4})]
    wrong = Incorrect(judge="cuda", reason="off by one", checks=())

    def judge_on(device: object) -> Iterator[tuple[int, JudgedKernel]]:
        yield 0, JudgedKernel(verdict=wrong)
        assert records().known(ROW) is None  # the GPU is held
        raise DeviceError("the device broke")

    monkeypatch.setattr(cuda_judge, "environments", lambda: (FIRST,))
    monkeypatch.setattr(cuda_judge, "leased", lambda *given, **named: nullcontext(SimpleNamespace(device=None)))
    monkeypatch.setattr(cuda_judge, "check_same", lambda *devices: None)
    monkeypatch.setattr(cuda_judge, "_prepared", lambda *given: judge_on)
    with pytest.raises(DeviceError, match="broke"):
        cuda_judge.judge_by_cuda(target, OPTIONS, Rivals())(rows)
    assert isinstance(records().known(ROW), JudgedWrong)
    assert records().known(rows[1]) is None


def test_a_time_of_another_device_does_not_count(records):
    records(FIRST).keep(ROW, JudgedKernel(verdict=PASSED, timing=timing(FIRST)))
    assert records(SECOND).known(ROW) is None
    assert records().known(ROW) is None


def test_a_profile_uses_the_time_of_another_gpu_of_that_name_where_a_run_goes_on_there(records):
    records(FIRST).keep(ROW, JudgedKernel(verdict=PASSED, timing=timing(FIRST)))
    assert records(SECOND).timing_on_any(ROW) == timing(FIRST)
    other = SECOND.model_copy(update={"gpu": "H200"})
    assert records(other).timing_on_any(ROW) is None


def test_a_time_of_another_length_does_not_count(records):
    shorter = OPTIONS.model_copy(update={"measure": MEASURE.model_copy(update={"benchmark_repeat": 50})})
    records(FIRST).keep(ROW, JudgedKernel(verdict=PASSED, timing=timing(FIRST)))
    assert records(FIRST, options=shorter).known(ROW) is None


def test_a_source_with_the_fingerprint_of_another_shares_its_time_and_not_its_verdict(records):
    records(FIRST).keep(ROW, JudgedKernel(verdict=PASSED, timing=timing(FIRST)))
    twin = ROW.model_copy(update={"kernel": "twin"})
    assert records(FIRST).timing(twin) == timing(FIRST)
    assert records(FIRST).known(twin) is None


def test_a_wrong_kernel_is_not_judged_again(records):
    wrong = Incorrect(judge="cuda", reason="off by one", checks=())
    records(FIRST).keep(ROW, JudgedKernel(verdict=wrong))
    known = records(SECOND).known(ROW)
    assert known == JudgedWrong(verdict=wrong, evaluation=known.evaluation)


@pytest.mark.parametrize("phase", [Phase.TIMEOUT, Phase.CRASH, Phase.ROOFLINE])
def test_what_the_machine_may_be_to_blame_for_is_tried_again(records, phase):
    told = records(FIRST).keep(ROW, JudgedKernel(verdict=Failed(judge="cuda", phase=phase, reason="it did")))
    assert told.verdict.phase == phase
    assert records(FIRST).known(ROW) is None


def test_a_kernel_that_passed_earlier_and_fails_now_has_failed(records):
    """The judge that says so now counts: a verdict from before is no right kernel without a time."""
    records(FIRST).keep(ROW, JudgedKernel(verdict=PASSED, timing=timing(FIRST)))
    wrong = Incorrect(judge="cuda", reason="off by one", checks=())
    assert records(SECOND).keep(ROW, JudgedKernel(verdict=wrong)).verdict == wrong


def test_a_kernel_that_passes_without_a_time_has_failed_and_is_judged_again(records):
    judged = records(FIRST).keep(ROW, JudgedKernel(verdict=PASSED))
    assert judged.verdict.verdict == "failed"
    assert records(FIRST).known(ROW) is None
