import pytest
from hypothesis import given
from hypothesis import strategies as st
from recorded import LAUNCHES, MATMUL, MATVEC, SOFTMAX, built, facts_for, h100, ptx_of

from kopt.estimate.eager import eager_ms, estimate_eager
from kopt.estimate.kernel_time import estimate
from kopt.estimate.parameters import tensor_bytes
from kopt.model.build import Built, HostOp, WorkloadBuild
from kopt.model.device import Device
from kopt.roofline import floor_bound, floor_ms

H100 = h100()


def estimated(*names, device: Device = H100, **changes):
    launches = [LAUNCHES[name].model_copy(update=changes) for name in names]
    return estimate(built(*launches), facts_for(names[0]), device, ptx_of).workloads[0]


def test_measured_order_of_matvec_kernels_comes_out():
    """On an H100: a small block reduced in the loop 7 ms, a wide row 1.4532 ms, four rows pipelined 1.3968 ms."""
    narrow, wide = estimated("matvec_narrow").ms, estimated("matvec_wide").ms
    pipelined = estimated("matvec_pipelined", "matvec_reduce").ms
    assert pipelined < wide < narrow


def test_measured_matvec_times_come_out_within_a_tenth():
    assert estimated("matvec_wide").ms == pytest.approx(1.4532, rel=0.1)
    assert estimated("matvec_pipelined", "matvec_reduce").ms == pytest.approx(1.3968, rel=0.1)


def test_a_reduction_in_the_loop_costs_several_times_the_floor():
    found = estimated("matvec_narrow")
    assert found.ms > 3 * found.floor_ms
    assert found.bound == "latency"


def test_a_large_tile_beats_a_small_one():
    assert estimated("matmul_large").ms < 0.6 * estimated("matmul_small").ms


def test_a_large_matmul_comes_near_the_tensor_rate():
    found = estimated("matmul_large")
    assert 1.0 < found.ms / found.floor_ms < 1.7


def test_rereading_a_row_costs_more_than_the_bytes_of_one_read():
    assert estimated("softmax_three_reads").ms > 1.2 * floor_ms(SOFTMAX.workloads[0], H100, SOFTMAX.dtype)


def test_spills_cost_time():
    assert estimated("matmul_large", spills=400).ms > 1.1 * estimated("matmul_large").ms


def test_too_few_blocks_cost_time():
    starved = estimated("matvec_plain", shared_bytes=230000)
    assert starved.ms > 1.5 * estimated("matvec_plain").ms


def test_a_pipelined_loop_needs_no_neighbours():
    assert estimated("matvec_pipelined", shared_bytes=230000).ms == pytest.approx(
        estimated("matvec_pipelined").ms, rel=0.01
    )


def test_many_waves_leave_less_of_the_last_one_idle():
    """The same work in one wave and in more than seven."""
    one, many = estimated("matvec_pipelined"), estimated("matvec_pipelined", shared_bytes=230000)
    assert many.memory_ms < 0.98 * one.memory_ms


def test_another_launch_costs_its_overhead():
    one, two = estimated("matvec_pipelined"), estimated("matvec_pipelined", "matvec_reduce")
    assert two.launch_ms > one.launch_ms
    assert two.ms > one.ms


def test_an_autotuner_runs_its_best_configuration_once():
    trials = [LAUNCHES[n].model_copy(update={"trial": True, "kernel": "k"}) for n in ("matvec_narrow", "matvec_wide")]
    tried = estimate(built(*trials), MATVEC, H100, ptx_of).workloads[0]
    assert tried.ms == pytest.approx(estimated("matvec_wide").ms)


def test_host_operations_cost_their_bytes_and_views_nothing():
    launch = LAUNCHES["matvec_wide"]
    view = HostOp(name="aten.view.default", shapes=((2048, 1048576),), dtypes=("bfloat16",), kind="view")
    cast = HostOp(name="aten._to_copy.default", shapes=((2048, 1048576),), dtypes=("bfloat16",))
    plain, viewed, copied = (
        estimate(built(launch, host_ops=ops), MATVEC, H100, ptx_of).workloads[0].ms for ops in ((), (view,), (cast,))
    )
    assert plain == viewed
    assert copied > 2 * plain


def test_without_recorded_arguments_the_problem_sets_the_trip_counts():
    """The order of kernels holds, and the time is not far off."""
    known, guessed = estimated("matvec_wide").ms, estimated("matvec_wide", arguments=()).ms
    assert guessed == pytest.approx(known, rel=0.1)
    assert estimated("matvec_narrow", arguments=()).ms > 2 * guessed


def test_no_estimate_undercuts_the_floor():
    for name in LAUNCHES:
        found = estimated(name)
        assert found.ms >= found.floor_ms


@given(
    warps=st.sampled_from([1, 2, 4, 8, 16]),
    registers=st.integers(16, 255),
    shared=st.integers(0, 232448),
    grid=st.tuples(st.integers(1, 5000), st.integers(1, 4), st.integers(1, 2)),
    name=st.sampled_from(sorted(LAUNCHES)),
)
def test_any_launch_has_a_finite_estimate_over_the_floor(warps, registers, shared, grid, name):
    found = estimated(name, num_warps=warps, registers=registers, shared_bytes=shared, grid=grid)
    assert found.floor_ms <= found.ms < 1e6


@given(st.text(max_size=400))
def test_any_ptx_has_an_estimate(text):
    found = estimate(built(LAUNCHES["matvec_plain"]), MATVEC, H100, lambda _: text).workloads[0]
    assert found.ms >= found.floor_ms


def test_an_estimate_is_repeatable():
    assert estimated("matmul_large") == estimated("matmul_large")


def test_notes_say_what_was_held_against_the_kernel():
    assert any("loads of 2 bytes" in note for note in estimated("matvec_narrow").notes)


def test_a_build_without_launches_takes_the_floor():
    empty = Built(fingerprint="f", workloads=(built().workloads[0],))
    found = estimate(empty, MATVEC, H100, ptx_of).workloads[0]
    assert found.ms == found.floor_ms


@pytest.mark.parametrize(("facts", "bound"), [(MATVEC, "memory"), (MATMUL, "compute"), (SOFTMAX, "memory")])
def test_a_kernel_at_the_floor_is_bound_by_what_the_floor_is_the_time_of(facts, bound):
    """`kopt check` names the bound of the floor, `kopt show` that of a kernel: at the floor they are one."""
    name = facts.workloads[0].workload
    at_floor = Built(fingerprint="f", workloads=(WorkloadBuild(workload=name, launches=(), host_ops=()),))
    (found,) = estimate(at_floor, facts, H100, ptx_of).workloads
    assert found.bound == floor_bound(facts.workloads[0], H100, facts.dtype) == bound
    arithmetic = facts.workloads[0].model_copy(update={"vector_flops": 10**18})
    assert floor_bound(arithmetic, H100, facts.dtype) == bound


def test_eager_is_the_sum_of_its_operations():
    found = estimate_eager(MATVEC, H100).workloads[0]
    assert found.ms == pytest.approx(MATVEC.workloads[0].bytes / H100.copy_gb_s / 1e6 + 0.003, rel=0.01)
    assert estimate_eager(MATMUL, H100).workloads[0].bound == "compute"
    exact = tuple(op.model_copy(update={"exact": True}) for op in MATMUL.workloads[0].eager_ops)
    workload = MATMUL.workloads[0].model_copy(update={"eager_ops": exact})
    slow = eager_ms(MATMUL.model_copy(update={"workloads": (workload,)}), H100)
    assert slow > 5 * eager_ms(MATMUL, H100)  # without tensor cores


def test_without_facts_there_is_no_time_of_eager():
    assert eager_ms(MATVEC, H100) == estimate_eager(MATVEC, H100).objective_ms
    assert eager_ms(MATVEC.model_copy(update={"workloads": ()}), H100) is None


def test_tensor_arguments_carry_their_size():
    assert tensor_bytes(LAUNCHES["matvec_plain"])["a"] == 2048 * 1048576 * 2


def test_of_an_operation_of_unknown_cost_eager_has_no_time():
    op = MATVEC.workloads[0].eager_ops[0].model_copy(update={"known": False})
    workload = MATVEC.workloads[0].model_copy(update={"eager_ops": (op,)})
    assert eager_ms(MATVEC.model_copy(update={"workloads": (workload,)}), H100) is None
