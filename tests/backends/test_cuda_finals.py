"""Fresh measurements: what they do to the pool, and the figures that a run reports."""

import json
from contextlib import nullcontext
from pathlib import Path

import pytest

from kopt.backends import cuda_finals
from kopt.backends.cuda_finals import measure_anew, with_finals
from kopt.device.cuda import judge as judge_cuda
from kopt.device.cuda.environment import environment
from kopt.device.hardware.measured import MeasuredDevice
from kopt.jobs.target import ProblemOnTarget
from kopt.load_config import load_device
from kopt.model.build import Phase
from kopt.model.kernel import ProposalStatus
from kopt.model.options import JudgeOptions, MeasureOptions
from kopt.model.problem import ProblemFacts
from kopt.model.timing import Finals, Measured, WorkloadTiming
from kopt.model.trial import RankRow, Trial
from kopt.model.verdict import Failed, Passed
from kopt.report.finals import table_lines
from kopt.report.terminal import final_lines
from kopt.run.final import measured_figures
from kopt.store import Store
from tests.device.small import SCALE

ROOT = Path(__file__).parents[2]


def timed(*workloads: tuple[float, ...]) -> Measured:
    """A time with these samples on each workload."""
    return Measured(
        device="H100",
        workloads=tuple(
            WorkloadTiming(
                workload=f"w{at}", median_ms=sorted(samples)[len(samples) // 2], low_ms=min(samples),
                high_ms=max(samples), samples_ms=samples, floor_ms=0.5,
            )
            for at, samples in enumerate(workloads)
        ),
    )  # fmt: skip


def row(name: str, ms: float, fingerprint: str = "") -> RankRow:
    return RankRow(
        position=0, kernel=f"k{name}", fingerprint=fingerprint or f"f{name}", origin=name, model="m", time_ms=ms,
        estimated=False, roofline_share=0.5,
    )  # fmt: skip


PASSED = Passed(judge="cuda", checks=())
FAILED = Failed(judge="cuda", phase=Phase.LAUNCH, reason="it fails now")


def test_finalists_are_ordered_by_their_new_times():
    pool = [row("r0a0s0", 1.0), row("r1a0s0", 1.1), row("r1a0s1", 3.0)]
    finals = Finals(
        timings={"kr0a0s0": timed((2.0, 2.0, 2.0)), "kr1a0s0": timed((1.5, 1.5, 1.6))},
        verdicts={"kr0a0s0": PASSED, "kr1a0s0": PASSED},
    )
    after = with_finals(pool, finals)
    assert [(one.origin, one.time_ms, one.position) for one in after] == [
        ("r1a0s0", 1.5, 0), ("r0a0s0", 2.0, 1), ("r1a0s1", 3.0, 2),
    ]  # fmt: skip
    assert (after[0].low_ms, after[0].high_ms) == (1.5, 1.6)


def test_a_finalist_that_fails_on_new_inputs_leaves_the_pool():
    pool = [row("r0a0s0", 1.0), row("r1a0s0", 0.5)]
    finals = Finals(timings={"kr0a0s0": timed((1.0,))}, verdicts={"kr0a0s0": PASSED, "kr1a0s0": FAILED})
    assert [one.origin for one in with_finals(pool, finals)] == ["r0a0s0"]


def test_kernels_of_one_fingerprint_share_the_new_time():
    pool = [row("r0a0s0", 1.0, "same"), row("r1a0s0", 1.2, "same"), row("r1a0s1", 1.1)]
    finals = Finals(timings={"kr0a0s0": timed((2.0,))}, verdicts={"kr0a0s0": PASSED})
    assert {one.origin: one.time_ms for one in with_finals(pool, finals)} == {
        "r0a0s0": 2.0, "r1a0s0": 2.0, "r1a0s1": 1.1,
    }  # fmt: skip


@pytest.mark.parametrize(("phase", "measurements"), [(Phase.TIMEOUT, 2), (Phase.CRASH, 2), (Phase.LAUNCH, 1)])
def test_a_failure_that_may_be_the_machines_fault_is_measured_again(phase, measurements, monkeypatch, tmp_path):
    finals = Finals(timings={}, verdicts={"seed": Failed(judge="cuda", phase=phase, reason="it fails now")})
    found = MeasuredDevice(device=load_device("h100", ROOT), uuid="GPU-1", driver="1", read_gb_s=3000.0)
    here, done = environment("H100", "GPU-1", "1"), []
    monkeypatch.setattr(cuda_finals, "leased", lambda *_, **__: nullcontext(found))
    monkeypatch.setattr(cuda_finals, "environments", lambda: [here])
    monkeypatch.setattr(cuda_finals, "environment", lambda *_: here)
    monkeypatch.setattr(judge_cuda, "measure_finalists", lambda *_, **__: done.append(1) or finals)
    facts = ProblemFacts(dtype=SCALE.dtype, workloads=())
    target = ProblemOnTarget(SCALE, facts, found.device, Store(tmp_path))
    measure = MeasureOptions(benchmark_warmup=1, benchmark_repeat=10, workers_per_gpu=1, gpu_wait_seconds=1.0)
    options = JudgeOptions(seed=1, judge_seconds=9.0, measure=measure)
    for _ in range(2):
        assert measure_anew({"seed": SCALE.seed}, (), target, options, purpose="test") == finals
    assert len(done) == measurements


@pytest.fixture
def final():
    best = Trial(
        name="r1a0s0", round=1, attempt=0, slot=0, parent="", model="m", bottleneck=0, sample=0,
        status=ProposalStatus.PROPOSED.value, description="fewer passes", kernel="k", fingerprint="f", duplicate_of="",
        verdict="passed", phase="", reason="", time_ms=1.0, low_ms=None, high_ms=None, estimated=False,
        roofline_share=0.5, techniques=(), cluster="", selected_rank=0, cost_usd=0.0,
    )  # fmt: skip
    timings = {
        "best": timed((1.0, 1.0, 1.0), (4.0, 4.0, 4.0)),
        "seed": timed((2.0, 2.0, 2.0), (4.0, 4.0, 4.0)),
        "eager": timed((1.0, 1.0, 1.0), (1.0, 1.0, 1.0)),
    }
    return measured_figures(best, timings)


def test_the_figures_of_a_run_are_geometric_means_over_the_workloads(final):
    assert final.best_ms == pytest.approx(2.0)
    assert final.speedup == pytest.approx(2**0.5)
    assert {one.name: round(one.speedup, 6) for one in final.against} == {"seed": 1.414214, "eager": 0.5}
    assert final.workloads == {"w0": 1.0, "w1": 4.0}
    assert not final.estimated


def test_the_terminal_says_what_the_best_kernel_was_measured_beside(final):
    text = "\n".join(final_lines(final, model="m", files={}))
    assert "eager" in text
    assert "0.50x (95 % interval 0.500 to 0.500)" in text
    assert "estimated" not in text


def test_a_measurement_as_a_table_has_a_line_for_each_name_and_workload():
    finals = Finals(timings={"eager": timed((1.0,), (2.0,)), "seed": timed((0.5,), (0.5,))}, verdicts={})
    lines = table_lines(finals)
    assert [line.split()[:2] for line in lines] == [["seed", "w0"], ["seed", "w1"], ["eager", "w0"], ["eager", "w1"]]
    assert "50.0% of the roofline" in lines[2]


def test_a_measurement_is_the_same_after_it_was_written_down():
    finals = Finals(timings={"a": timed((1.0, 2.0))}, verdicts={"a": PASSED, "b": FAILED})
    assert Finals.model_validate(json.loads(finals.model_dump_json())) == finals
