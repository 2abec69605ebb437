"""Kernels are built and estimated for every described device, without a GPU, and a faulty description is one line."""

from pathlib import Path

import pytest
import yaml
from recorded import LAUNCHES

from kopt.device.build.build import BuildJob, build_all
from kopt.device.facts.facts import problem_facts
from kopt.errors import ConfigError
from kopt.estimate.cycles import tensor_work
from kopt.estimate.instructions import loop_ends, parse
from kopt.estimate.kernel_time import estimate
from kopt.estimate.walk import Walk
from kopt.load_config import load_device, read_device
from kopt.model.build import Built
from kopt.model.device import estimate_warning
from kopt.problem.folder import load
from kopt.roofline import memory_floor_ms
from kopt.store import Store

ROOT = Path(__file__).resolve().parents[2]
NAMES = sorted(file.stem for file in (ROOT / "config" / "devices").glob("*.yaml"))
DEVICES = {name: load_device(name, ROOT) for name in NAMES}


@pytest.fixture(scope="module")
def estimates(tmp_path_factory):
    """Estimates of the seed kernels of two problems for every device."""
    store = Store(tmp_path_factory.mktemp("store"))
    problems = {name: load(ROOT / "config" / "problems" / name) for name in ("softmax", "matvec")}
    asked = [(device, problem) for device in NAMES for problem in problems]
    jobs = [
        BuildJob(kernel=problems[problem].seed, problem=problems[problem], device=DEVICES[device])
        for device, problem in asked
    ]
    built = dict(build_all(jobs, store=store, workers=2))
    facts = {name: problem_facts(problem) for name, problem in problems.items()}
    assert all(isinstance(build, Built) for build in built.values()), built
    return {
        (device, problem): (
            facts[problem],
            estimate(built[at], facts[problem], DEVICES[device], lambda digest: store.text("ptx", digest, ".ptx")),
        )
        for at, (device, problem) in enumerate(asked)
    }


@pytest.mark.parametrize("device", NAMES)
@pytest.mark.parametrize("problem", ["softmax", "matvec"])
def test_a_seed_kernel_is_built_and_estimated_near_the_floor_of_each_device(estimates, device, problem):
    facts, estimated = estimates[device, problem]
    for workload, time in zip(facts.workloads, estimated.workloads, strict=True):
        floor = memory_floor_ms(workload, DEVICES[device])
        assert time.done == 1.0
        assert floor <= time.ms < 8 * floor


MEASURED = ("h100", "h200")
"""Devices whose rates were measured, and whose estimates were compared with measured times."""


def test_some_devices_are_compared_with_measured_times_and_the_others_say_that_they_are_not():
    said = {name: estimate_warning(device.name) for name, device in DEVICES.items()}
    assert tuple(sorted(name for name, warning in said.items() if not warning)) == MEASURED
    assert said["a100"].startswith("estimates for NVIDIA A100-SXM4-80GB were never compared with measured times")


@pytest.mark.parametrize("name", [name for name in NAMES if name not in MEASURED])
def test_rates_from_a_data_sheet_stay_below_its_peaks(name):
    sheet = yaml.safe_load((ROOT / "config" / "devices" / f"{name}.yaml").read_text())["data_sheet"]
    device = DEVICES[name]
    assert device.copy_gb_s < sheet["memory_gb_s"]
    assert device.vector_tflop_s < sheet["vector_tflop_s"]
    assert all(rate < sheet["matmul_tflop_s"][dtype] for dtype, rate in device.matmul_tflop_s.items())
    lanes = 64 if device.arch == 80 else 128  # FP32 lanes of a multiprocessor: the sheet's rate follows from its clock
    assert sheet["vector_tflop_s"] == pytest.approx(2e-6 * lanes * device.sm_count * device.sm_clock_mhz, rel=0.02)


FAULTS = {
    "no number": ({"sm_count": "many"}, "sm_count: must be a whole number"),
    "zero": ({"sm_count": 0}, "sm_count: must be more than 0 (got 0)"),
    "a negative rate": ({"copy_gb_s": -1.0}, "copy_gb_s: must be more than 0"),
    "an unknown key": ({"sm_cuont": 3}, "unknown key 'sm_cuont'; did you mean 'sm_count'"),
    "a capability with a dot": ({"arch": 9}, "arch: 9 is no compute capability times ten"),
    "a capability beyond": ({"arch": 900}, "arch: 900 is no compute capability times ten"),
    "a short dtype": ({"matmul_tflop_s": {"bf16": 1.0}}, "matmul_tflop_s: unknown dtype 'bf16'; known are bfloat16"),
    "too large a block": ({"shared_bytes_per_block": 1 << 20}, "shared_bytes_per_block: one block cannot have more"),
    "a rate twice": ({"data_sheet": {"memory_gb_s": 1.0}}, "copy_gb_s follows from data_sheet"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_faulty_description_is_named_in_one_line(tmp_path, fault):
    change, expected = FAULTS[fault]
    described = yaml.safe_load((ROOT / "config" / "devices" / "h100.yaml").read_text()) | change
    file = tmp_path / "own.yaml"
    file.write_text(yaml.safe_dump(described))
    with pytest.raises(ConfigError) as raised:
        read_device(file)
    assert str(raised.value).startswith(f"{file}: {expected}")
    assert "\n" not in str(raised.value)


def test_a_fault_inside_the_data_sheet_is_named(tmp_path):
    described = yaml.safe_load((ROOT / "config" / "devices" / "a100.yaml").read_text())
    described["data_sheet"]["memory_gb_s"] = 0
    file = tmp_path / "own.yaml"
    file.write_text(yaml.safe_dump(described))
    with pytest.raises(ConfigError, match="data_sheet: memory_gb_s: must be more than 0"):
        read_device(file)


def test_a_file_of_the_users_own_is_read_by_its_path(tmp_path):
    file = tmp_path / "mine.yaml"
    file.write_text((ROOT / "config" / "devices" / "l40s.yaml").read_text())
    assert load_device(str(file), ROOT) == DEVICES["l40s"]


PRODUCT = """
mov.b32 	%r43, {descriptor};
@%p20 tcgen05.mma.cta_group::1.kind::{kind} [ %r202 + 0 ], %rd43, %rd44, %r43, %p19;
ret;
"""


@pytest.mark.parametrize(
    ("kind", "rows", "columns", "depth"),
    [("f16", 64, 64, 16), ("f16", 128, 256, 16), ("tf32", 128, 64, 8), ("f8f6f4", 128, 128, 32)],
)
def test_products_of_blackwell_are_counted_by_their_instruction_descriptor(kind, rows, columns, depth):
    descriptor = (rows // 16) << 24 | (columns // 8) << 17 | 0x490
    program = parse(PRODUCT.format(descriptor=descriptor, kind=kind))
    walked = Walk(counts={0: 1.0, 1: 3.0, 2: 1.0})
    tensor = tensor_work(program, walked, LAUNCHES["matvec_plain"], DEVICES["b200"])
    assert tensor.flops == 3 * 2 * rows * columns * depth
    assert tensor.instruction == f"tcgen05 m{rows}n{columns}k{depth}"


def test_a_loop_that_is_laid_out_around_its_middle_is_one_loop():
    program = parse("bra.uni $M;\n$A:\nadd.s32 %r1, %r1, 1;\n$B:\n@%p1 bra $M;\nbra.uni $E;\n$M:\n@%p2 bra $A;\n"
                    "bra.uni $B;\n$E:\nret;\n")  # fmt: skip
    assert loop_ends(program) == {1: 5}
