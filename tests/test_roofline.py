from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from kopt.model.build import Launch
from kopt.model.device import Device
from kopt.model.problem import Dtype, EagerOp, ProblemFacts, TensorSpec, WorkloadFacts
from kopt.roofline import ample_ms, bound, compute_floor_ms, floor_ms, occupancy

H100 = Device(**yaml.safe_load((Path(__file__).parents[1] / "config/devices/h100.yaml").read_text()))


def facts(shapes, output, matmul=0, vector=0):
    inputs = tuple(TensorSpec(name="x", shape=shape, dtype="bfloat16") for shape in shapes)
    return WorkloadFacts(
        workload="main",
        inputs=inputs,
        outputs=(TensorSpec(name="y", shape=output, dtype="bfloat16"),),
        eager_ops=(EagerOp(name="op", bytes=1, matmul_flops=matmul, vector_flops=vector),),
        necessary_flops=matmul,
    )


MATVEC = facts(((2048, 1048576), (1048576, 1)), (2048, 1), matmul=2 * 2048 * 1048576)
MATMUL = facts(((8192, 8192), (8192, 8192)), (8192, 8192), matmul=2 * 8192**3)


def launch(registers=32, shared=0, warps=4):
    return Launch(
        kernel="k", grid=(1, 1, 1), num_warps=warps, num_stages=1, num_ctas=1, shared_bytes=shared, registers=registers,
        spills=0, signature=(),
    )  # fmt: skip


@pytest.mark.parametrize(("needed", "vector"), [(0.01, 0), (1.0, 0), (0.01, 10**13)])
def test_what_a_reference_moves_and_computes_is_no_floor_but_at_least_the_floor(needed, vector):
    gathered = facts(((100000, 256),), (4096, 256), vector=vector)
    table = gathered.inputs[0].model_copy(update={"needed": needed})
    workload = gathered.model_copy(update={"inputs": (table,)})
    whole = ProblemFacts(dtype=Dtype.BFLOAT16, workloads=(workload,))
    floor, ample = floor_ms(workload, H100, Dtype.BFLOAT16), ample_ms(whole, H100)
    assert ample == pytest.approx(floor) if needed == 1.0 else ample > 10 * floor
    twice = ProblemFacts(dtype=Dtype.BFLOAT16, workloads=(workload, workload))
    assert ample_ms(twice, H100) == pytest.approx(ample)
    unknown = workload.model_copy(update={"unknown": "no trace"})
    assert ample_ms(whole.model_copy(update={"workloads": (workload, unknown)}), H100) == 0


def test_exact_products_of_float32_are_ample_at_the_rate_of_arithmetic_without_tensor_cores():
    exact = MATMUL.model_copy(update={"eager_ops": (MATMUL.eager_ops[0].model_copy(update={"exact": True}),)})
    whole = ProblemFacts(dtype=Dtype.FLOAT32, workloads=(exact,))
    assert ample_ms(whole, H100) == pytest.approx(2 * 8192**3 / H100.vector_tflop_s / 1e9)
    assert ample_ms(ProblemFacts(dtype=Dtype.FLOAT32, workloads=(MATMUL,)), H100) < ample_ms(whole, H100) / 5


@pytest.mark.parametrize(
    ("dtype", "product_type", "tflop_s"),
    [
        (Dtype.FLOAT32, "", H100.matmul_tflop_s["float32"]),
        (Dtype.FLOAT32, "float32", H100.matmul_tflop_s["float32"]),
        (Dtype.FLOAT32, "bfloat16", H100.matmul_tflop_s["bfloat16"]),
        (Dtype.BFLOAT16, "float32", H100.matmul_tflop_s["bfloat16"]),
        (Dtype.BFLOAT16, "int8", 2 * max(H100.matmul_tflop_s.values())),
        (Dtype.FLOAT32, "float8_e4m3fn", 2 * max(H100.matmul_tflop_s.values())),
        (Dtype.FLOAT32, "int64", H100.matmul_tflop_s["float32"]),
        (Dtype.FLOAT64, "float64", H100.vector_tflop_s),
    ],
)
def test_the_floor_of_products_is_that_of_the_narrowest_type_in_which_a_kernel_may_multiply(
    dtype, product_type, tflop_s
):
    workload = MATMUL.model_copy(update={"product_type": product_type})
    assert compute_floor_ms(workload, H100, dtype) == pytest.approx(2 * 8192**3 / tflop_s / 1.08e9)


def test_no_measured_kernel_undercuts_the_floor():
    """Fastest known on an H100: matvec 1.3968 ms, an 8192 cube at 798 TFLOP/s."""
    assert floor_ms(MATVEC, H100, Dtype.BFLOAT16) < 1.3968
    assert floor_ms(MATMUL, H100, Dtype.BFLOAT16) < 2 * 8192**3 / 798e12 * 1e3


def test_the_floor_is_close_to_the_fastest_kernel():
    assert floor_ms(MATVEC, H100, Dtype.BFLOAT16) > 0.95 * 1.3968


def test_a_matvec_is_memory_bound_and_a_matmul_compute_bound():
    assert bound(MATVEC, H100, Dtype.BFLOAT16) == "memory"
    assert bound(MATMUL, H100, Dtype.BFLOAT16) == "compute"


def test_a_time_far_over_the_floor_is_latency():
    assert bound(MATVEC, H100, Dtype.BFLOAT16, 7.0) == "latency"
    assert bound(MATVEC, H100, Dtype.BFLOAT16, 1.5) == "memory"


@pytest.mark.parametrize(
    ("kernel_launch", "blocks", "limit"),
    [
        (launch(), 16, "threads"),
        (launch(registers=255), 2, "registers"),
        (launch(shared=100_000), 2, "shared memory"),
        (launch(warps=1), 32, "blocks"),
    ],
)
def test_the_scarcest_resource_limits_the_blocks(kernel_launch, blocks, limit):
    occupied = occupancy(kernel_launch, H100)
    assert (occupied.blocks, occupied.limit) == (blocks, limit)


@given(st.integers(16, 254), st.integers(0, 200_000), st.sampled_from([1, 2, 4, 8, 16, 32]))
def test_more_registers_never_raise_occupancy(registers, shared, warps):
    assert (
        occupancy(launch(registers + 1, shared, warps), H100).blocks
        <= occupancy(launch(registers, shared, warps), H100).blocks
    )


@given(st.integers(1, 10**12), st.integers(1, 10**15))
def test_more_arithmetic_never_lowers_the_floor(vector, matmul):
    small = floor_ms(facts(((64, 64),), (64, 64)), H100, Dtype.BFLOAT16)
    assert floor_ms(facts(((64, 64),), (64, 64), matmul, vector), H100, Dtype.BFLOAT16) >= small > 0
