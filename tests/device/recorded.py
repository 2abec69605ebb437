"""PTX and launches recorded from real compilations for sm_90, and problems to go with them."""

import json
from pathlib import Path

import yaml

from kopt.model.build import Built, Launch, WorkloadBuild
from kopt.model.device import Device
from kopt.model.problem import Dtype, EagerOp, ProblemFacts, TensorSpec, WorkloadFacts

FOLDER = Path(__file__).parent / "estimate_fixtures"
ROOT = Path(__file__).parents[2]


def _recorded(value) -> Launch:
    """A recorded launch whose last tensor is the output, and the others the inputs in order."""
    launch = Launch(**value)
    tensors = [name for name, text in launch.arguments if "[" in text]
    places = [f"input {at}" for at in range(len(tensors) - 1)] + ["allocation 0"]
    return launch.model_copy(update={"pointers": tuple(zip(tensors, places, strict=True))})


LAUNCHES = {name: _recorded(value) for name, value in json.loads((FOLDER / "launches.json").read_text()).items()}


def h100() -> Device:
    return Device(**yaml.safe_load((ROOT / "config/devices/h100.yaml").read_text()))


def ptx_of(name: str) -> str:
    return (FOLDER / f"{name}.ptx").read_text()


def built(*launches: Launch, host_ops=()) -> Built:
    return Built(
        fingerprint="f",
        workloads=(WorkloadBuild(workload="main", launches=launches, host_ops=tuple(host_ops)),),
    )


def _facts(inputs, output, matmul_flops=0, vector_flops=0) -> ProblemFacts:
    inputs = tuple(
        TensorSpec(name=f"x{at}", shape=shape, dtype="bfloat16", place=f"input {at}") for at, shape in enumerate(inputs)
    )
    output = TensorSpec(name="out", shape=output, dtype="bfloat16")
    moved = sum(t.bytes for t in (*inputs, output))
    op = EagerOp(name="aten.mm", bytes=moved, matmul_flops=matmul_flops, vector_flops=vector_flops)
    workload = WorkloadFacts(
        workload="main", inputs=inputs, outputs=(output,), eager_ops=(op,), necessary_flops=matmul_flops
    )
    return ProblemFacts(dtype=Dtype.BFLOAT16, workloads=(workload,))


MATVEC = _facts(((2048, 1048576), (1048576, 1)), (2048, 1), matmul_flops=2 * 2048 * 1048576)
MATMUL = _facts(((4096, 4096), (4096, 4096)), (4096, 4096), matmul_flops=2 * 4096**3)
SOFTMAX = _facts(((4096, 8192),), (4096, 8192), vector_flops=4 * 4096 * 8192)
ATTENTION = _facts(((4, 16, 4096, 64),) * 3, (4, 16, 4096, 64), matmul_flops=2 * 4 * 16 * 4096 * 4096 * 64)


def facts_for(name: str) -> ProblemFacts:
    facts = {"matvec": MATVEC, "matmul": MATMUL, "softmax": SOFTMAX, "attention": ATTENTION}
    return facts[name.split("_")[0]]
