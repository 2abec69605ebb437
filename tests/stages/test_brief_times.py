"""A parent's times by workload, as a briefing tells them."""

import pytest

from kopt.model.device import Device
from kopt.model.diagnosis import Profile
from kopt.model.kernel import Kernel
from kopt.model.problem import Dtype, Problem, ProblemFacts, TensorSpec, Workload, WorkloadFacts
from kopt.model.timing import Finals, Measured, WorkloadTiming
from kopt.model.trial import SelectionRow
from kopt.prompts.context import PromptContext
from kopt.stages.brief import workload_times
from tests.rewrite import samples

NAMES = ("tall", "wide")
X = TensorSpec(name="x", shape=(1024, 1024), dtype="bfloat16")
FACTS = ProblemFacts(
    dtype=Dtype.BFLOAT16,
    workloads=tuple(WorkloadFacts(workload=name, inputs=(X,), outputs=(X,), eager_ops=()) for name in NAMES),
)
PROBLEM = Problem(
    name="p", reference="", seed=Kernel(source=""), dtype=Dtype.BFLOAT16,
    main=tuple(Workload(name=name) for name in NAMES), small=(Workload(name="small"),),
)  # fmt: skip
DEVICE: Device = samples.facts().device
CONTEXT = PromptContext(problem=PROBLEM, facts=FACTS, device=DEVICE, triton="3.6.0")
ROW = SelectionRow(
    rank=0, kernel="k", fingerprint="f", origin="r1a0s0", model="kopt-rewrite", time_ms=0.02, estimated=False,
    roofline_share=0.5, techniques=(), cluster="none",
)  # fmt: skip
PROFILE = Profile(kind="static", bound="memory", roofline_share=0.5, times_ms={"tall": 0.05, "wide": 0.0125})


def measured(*ms: float) -> Measured:
    return Measured(
        device="d",
        workloads=tuple(
            WorkloadTiming(workload=n, median_ms=t, low_ms=t, high_ms=t, samples_ms=(t,), floor_ms=t / 2)
            for n, t in zip(NAMES, ms, strict=True)
        ),
    )


def test_times_by_workload_have_the_rows_time_as_their_mean_and_the_baselines_beside_them():
    baseline = Finals(
        timings={"eager": measured(0.1, 0.2), "compile": measured(0.08, 0.01), "max-autotune": measured(0.07, 0.02)},
        verdicts={},
    )
    tall, wide = workload_times(ROW, CONTEXT, baseline, PROFILE)
    assert (tall.ms, wide.ms) == pytest.approx((0.04, 0.01))
    assert (tall.eager_ms, tall.compile_ms, wide.eager_ms, wide.compile_ms) == (0.1, 0.07, 0.2, 0.01)
    assert tall.floor_ms == wide.floor_ms > 0


def test_estimated_times_stand_beside_no_measured_ones_and_unknown_times_are_left_out():
    estimated = ROW.model_copy(update={"estimated": True})
    (tall, _) = workload_times(estimated, CONTEXT, Finals(timings={"eager": measured(0.1, 0.2)}, verdicts={}), PROFILE)
    assert (tall.eager_ms, tall.compile_ms) == (None, None)
    assert workload_times(ROW, CONTEXT, None, None) == ()
    assert workload_times(ROW, CONTEXT, None, PROFILE.model_copy(update={"times_ms": {"tall": 1.0}})) == ()
