import pytest
from hypothesis import given
from hypothesis import strategies as st

from kopt.model.build import Built, HostOp, Launch, WorkloadBuild
from kopt.model.device import Device
from kopt.model.problem import Dtype, EagerOp, ProblemFacts, TensorSpec, WorkloadFacts
from kopt.model.timing import Estimated, Measured, WorkloadEstimate, WorkloadTiming
from kopt.search.bottlenecks import RULES
from kopt.search.diagnose import diagnose, static_profile

DEVICE = Device(
    name="gpu", arch=90, sm_count=132, shared_bytes_per_block=232448, shared_bytes_per_sm=233472, l2_bytes=52428800,
    memory_bytes=85520809984, sm_clock_mhz=1980, copy_gb_s=3027.0, matmul_tflop_s={"bfloat16": 740.0},
    vector_tflop_s=60.0, measured=False,
)  # fmt: skip
NAMES = {
    "narrow_loads", "low_occupancy", "too_few_bytes_in_flight", "tail_wave", "too_few_programs", "launch_overhead",
    "masked_inner_loop", "redundant_traffic", "l2_misses", "register_pressure", "spills", "tensor_cores_idle",
    "small_tiles", "shallow_pipeline", "instruction_overhead", "reduction_in_loop", "host_operations",
    "index_arithmetic", "untuned_configuration",
}  # fmt: skip


def problem(shapes, output, matmul=0):
    inputs = tuple(TensorSpec(name="x", shape=shape, dtype="bfloat16") for shape in shapes)
    out = TensorSpec(name="y", shape=output, dtype="bfloat16")
    op = EagerOp(name="op", bytes=sum(t.bytes for t in (*inputs, out)), matmul_flops=matmul, vector_flops=0)
    return ProblemFacts(
        dtype=Dtype.BFLOAT16,
        workloads=(WorkloadFacts(workload="main", inputs=inputs, outputs=(out,), eager_ops=(op,)),),
    )


MATVEC = problem(((2048, 1048576), (1048576, 1)), (2048, 1), 2 * 2048 * 1048576)
MATMUL = problem(((4096, 4096), (4096, 4096)), (4096, 4096), 2 * 4096**3)


def built(grid=(2048, 1, 1), host_ops=(), **changes):
    fields = {
        "num_warps": 4, "num_stages": 3, "num_ctas": 1, "shared_bytes": 0, "registers": 40, "spills": 0,
        "signature": (),
    }  # fmt: skip
    launch = Launch(kernel="k", grid=grid, **(fields | changes))
    return Built(fingerprint="f", workloads=(WorkloadBuild(workload="main", launches=(launch,), host_ops=host_ops),))


def measured(ms, floor=1.36):
    timing = WorkloadTiming(workload="main", median_ms=ms, low_ms=ms, high_ms=ms, samples_ms=(ms,), floor_ms=floor)
    return Measured(device="gpu", workloads=(timing,))


def directions(build=None, timing=None, facts=MATVEC, mix=None, techniques=(), count=3):
    build, timing = build or built(), timing or measured(1.5)
    profile = static_profile(build, timing, facts, DEVICE, mix or {"load_global_wide": 2, "total": 50})
    return diagnose("kernel", profile, build, techniques, facts, DEVICE, count).directions


def first(**case):
    return directions(**case)[0].bottleneck


def test_the_rules_are_the_known_bottlenecks():
    assert {rule.bottleneck for rule in RULES} == NAMES
    assert len(RULES) == len(NAMES)


def test_spills_come_first():
    assert first(build=built(spills=600)) == "spills"


def test_a_matmul_without_matrix_instructions_needs_tensor_cores():
    assert first(facts=MATMUL, timing=measured(9.0, 0.17)) == "tensor_cores_idle"


def test_a_reduction_in_a_slow_loop_comes_first():
    mix = {"load_global": 2, "loop_load_global": 2, "loop_shuffle": 7, "loop_barrier": 3, "loop_total": 60}
    assert first(timing=measured(7.0), mix=mix) == "reduction_in_loop"


def test_two_programs_are_too_few():
    assert first(build=built(grid=(2, 1, 1)), timing=measured(60.0)) == "too_few_programs"


def test_narrow_loads_are_found():
    mix = {"load_global": 2, "loop_load_global": 2, "loop_total": 20}
    assert "narrow_loads" in [one.bottleneck for one in directions(timing=measured(1.6), mix=mix)]


@pytest.mark.parametrize("looped", [0, 2])
def test_masks_are_told_where_accesses_are_in_a_loop(looped):
    mix = {"load_global": 2, "guarded": 2, "loop_load_global": looped, "loop_total": 20}
    (masks,) = [one for one in directions(count=len(RULES), mix=mix) if one.bottleneck == "masked_inner_loop"]
    told = "2 of 2 global accesses are under a predicate" if looped else "0 of 2 global accesses are in a loop"
    assert told in masks.cause


def test_a_cast_of_the_input_on_the_host_is_found():
    cast = HostOp(name="aten._to_copy.default", shapes=((2048, 1048576),), dtypes=("bfloat16",))
    assert first(build=built(host_ops=(cast,)), timing=measured(4.5)) == "host_operations"


def test_allocations_on_the_host_are_no_bottleneck():
    empty = HostOp(name="aten.empty_like.default", shapes=((2048, 1048576),), dtypes=("bfloat16",), kind="allocation")
    with_it, without = (directions(build=built(host_ops=ops), count=19) for ops in ((empty,), ()))
    assert with_it == without


def test_an_estimate_that_moves_twice_the_bytes_is_redundant_traffic():
    part = WorkloadEstimate(
        workload="main", ms=2.9, memory_ms=2.85, compute_ms=0.4, launch_ms=0.003, floor_ms=1.36, bound="memory",
    )  # fmt: skip
    assert first(timing=Estimated(device="gpu", workloads=(part,))) == "redundant_traffic"


def test_causes_carry_a_number():
    for one in directions(count=len(RULES)):
        assert any(char.isdigit() for char in one.cause), one


def test_a_used_technique_makes_room_for_a_new_one():
    before = [one.bottleneck for one in directions(count=19)]
    after = [one.bottleneck for one in directions(count=19, techniques=("software_pipelining", "async_copy_tma"))]
    assert after.index("shallow_pipeline") > before.index("shallow_pipeline")


def test_new_techniques_are_named_before_used_ones():
    found = directions(count=19, techniques=("software_pipelining",))
    pipeline = next(one for one in found if one.bottleneck == "shallow_pipeline")
    assert pipeline.techniques == ("async_copy_tma", "software_pipelining")


def test_more_directions_than_rules_are_refused():
    with pytest.raises(ValueError, match="only 19"):
        directions(count=20)


def test_a_static_profile_says_that_no_counter_was_read():
    profile = static_profile(built(), measured(1.5), MATVEC, DEVICE, {})
    assert profile.kind == "static"
    assert "no hardware counter was read" in profile.notes
    assert profile.metrics["achieved_gb_s"] == pytest.approx(MATVEC.workloads[0].bytes / 1.5e6)


def test_the_profile_tells_memory_from_latency():
    assert static_profile(built(), measured(1.5), MATVEC, DEVICE, {}).bound == "memory"
    assert static_profile(built(), measured(7.0), MATVEC, DEVICE, {}).bound == "latency"


def test_counters_speak_where_there_are_some():
    profile = static_profile(built(), measured(0.3, 0.17), MATMUL, DEVICE, {"wgmma": 8})
    metrics = {
        "sm__inst_executed_pipe_tensor.avg.pct_of_peak_sustained_active": 3.0,
        "lts__t_sector_hit_rate.pct": None,
    }
    counted = profile.model_copy(update={"kind": "counters", "metrics": metrics})
    found = diagnose("kernel", counted, built(), (), MATMUL, DEVICE, 1).directions
    assert (found[0].bottleneck, found[0].cause) == ("tensor_cores_idle", "the tensor pipe is 3 % active")


@given(
    count=st.integers(1, 19),
    ms=st.floats(0.001, 100),
    grid=st.tuples(st.integers(1, 100_000), st.integers(1, 8), st.just(1)),
    registers=st.integers(16, 255),
    mix=st.dictionaries(
        st.sampled_from(["wgmma", "load_global", "loop_shuffle", "loop_total", "guarded"]), st.integers(0, 99)
    ),
    facts=st.sampled_from([MATVEC, MATMUL]),
    techniques=st.lists(st.sampled_from(["tensor_cores", "vectorized_load", "autotuned_config"])),
)
def test_exactly_as_many_different_directions_as_asked_for(count, ms, grid, registers, mix, facts, techniques):
    case = {"build": built(grid=grid, registers=registers), "timing": measured(ms), "facts": facts, "mix": mix}
    found = directions(**case, techniques=techniques, count=count)
    assert [one.rank for one in found] == list(range(1, count + 1))
    assert len({one.bottleneck for one in found}) == count
    assert found == directions(**case, techniques=techniques, count=count)
