"""Values for the prompts' tests: one small problem with all that a run could know of it."""

from __future__ import annotations

from kopt.model.build import Built, HostOp, Launch, WorkloadBuild
from kopt.model.device import Device
from kopt.model.diagnosis import Direction, Profile
from kopt.model.kernel import Kernel
from kopt.model.problem import Dtype, EagerOp, Problem, ProblemFacts, TensorSpec, Workload, WorkloadFacts
from kopt.model.technique import Technique
from kopt.prompts.context import Assignment, Event, Memory, Parent, ParentTimes, PromptContext, Reflection, Share
from kopt.prompts.repair import FailedProposal

REFERENCE = """\
import torch
from torch import nn

M, K = 2048, 8192


class Model(nn.Module):
    def forward(self, A, B):
        return torch.matmul(A, B)
"""

SOURCE = """\
import torch
import triton
import triton.language as tl


@triton.jit
def matvec_kernel(a_ptr, b_ptr, y_ptr, K, stride, BLOCK: tl.constexpr):
    row = tl.program_id(0).to(tl.int64)
    acc = tl.zeros((BLOCK,), dtype=tl.float32)
    for k in range(0, K, BLOCK):
        offsets = k + tl.arange(0, BLOCK)
        mask = offsets < K
        acc += tl.load(a_ptr + row * stride + offsets, mask=mask, other=0.0) * tl.load(b_ptr + offsets, mask=mask)
    tl.store(y_ptr + row, tl.sum(acc, axis=0))


def kernel_function(A, B):
    y = torch.empty((A.shape[0], 1), dtype=A.dtype, device=A.device)
    matvec_kernel[(A.shape[0],)](A, B, y, A.shape[1], A.stride(0), BLOCK=1024)
    return y
"""

PROBLEM = Problem(
    name="matvec",
    reference=REFERENCE,
    seed=Kernel(source=SOURCE),
    dtype=Dtype.BFLOAT16,
    main=(Workload(name="tall"),),
    hidden=(Workload(name="secret_shape", constants={"M": 77}),),
    small=(Workload(name="tiny", constants={"M": 4}),),
)

FACTS = ProblemFacts(
    dtype=Dtype.BFLOAT16,
    workloads=(
        WorkloadFacts(
            workload="tall",
            inputs=(
                TensorSpec(name="A", shape=(2048, 8192), dtype="bfloat16"),
                TensorSpec(name="B", shape=(8192, 1), dtype="bfloat16"),
            ),
            parameters=(TensorSpec(name="bias", shape=(2048,), dtype="bfloat16"),),
            outputs=(TensorSpec(name="output", shape=(2048, 1), dtype="bfloat16"),),
            eager_ops=(EagerOp(name="aten.mm", bytes=33_574_912, matmul_flops=33_554_432, vector_flops=0),),
        ),
    ),
)

DEVICE = Device(
    name="NVIDIA H100 80GB HBM3",
    arch=90,
    sm_count=132,
    shared_bytes_per_block=232_448,
    shared_bytes_per_sm=233_472,
    l2_bytes=52_428_800,
    memory_bytes=85_520_809_984,
    sm_clock_mhz=1980,
    copy_gb_s=3027.0,
    matmul_tflop_s={"bfloat16": 740.0},
    vector_tflop_s=60.0,
    measured=True,
)

TAXONOMY = (
    Technique(name="split_k_reduce", description="The reduced dimension is split.", llm_hint="A second kernel sums."),
    Technique(name="vectorized_load", description="Several elements an instruction.", llm_hint="ld.global.v4."),
    Technique(name="loop_unrolling", description="Loops are unrolled.", llm_hint="tl.static_range."),
)

CONTEXT = PromptContext(problem=PROBLEM, facts=FACTS, device=DEVICE, triton="3.7.1", techniques=TAXONOMY)

BUILT = Built(
    fingerprint="f" * 64,
    workloads=(
        WorkloadBuild(
            workload="tall",
            launches=(
                Launch(
                    kernel="matvec_kernel", grid=(2048, 1, 1), num_warps=4, num_stages=3, num_ctas=1, shared_bytes=64,
                    registers=40, spills=0, signature=(("a_ptr", "*bf16"),), constants=(("BLOCK", "1024"),),
                ),
            ),
            host_ops=(HostOp(name="aten.empty.memory_format", shapes=()),),
        ),
    ),
)  # fmt: skip

TIMES = ParentTimes(
    ms=0.0312, low_ms=0.0309, high_ms=0.0316, estimated=False, floor_ms=0.0107, roofline_share=0.343, eager_ms=0.0224,
    compile_ms=0.0221, best_ms=0.0251, seed_ms=0.0712,
)  # fmt: skip

COUNTERS = Profile(
    kind="counters",
    bound="memory",
    roofline_share=0.343,
    metrics={
        "dram__throughput.avg.pct_of_peak_sustained_elapsed": 41.2,
        "launch__registers_per_thread": 40.0,
        "sm__warps_active.avg.pct_of_peak_sustained_active": None,
        "some__new_metric.avg": 3.0,
    },
    notes=("one launch",),
)

PARENT = Parent(
    kernel=Kernel(source=SOURCE), times=TIMES, build=BUILT, profile=COUNTERS, techniques=("vectorized_load",)
)

DIRECTION = Direction(
    rank=1,
    bottleneck="narrow_loads",
    cause="DRAM throughput at 41.2 % of peak",
    direction="Load 16 bytes a thread: BLOCK of 4096 with 8 warps.",
    techniques=("vectorized_load",),
)
SECOND = Direction(
    rank=2,
    bottleneck="latency",
    cause="one load in flight",
    direction="Split K over four programs.",
    techniques=("split_k_reduce",),
)

MEMORY = Memory(
    events=(
        Event(
            name="r1a0s3", model="gpt-5", description="Doubled the block", techniques=("vectorized_load",),
            outcome="faster", ms=0.0251, ratio=0.35,
        ),
        Event(name="r1a0s2", model="kopt-rewrite", description="num_warps 16", outcome="failed", reason="spills"),
    ),
    reflections=(Reflection(round=1, worked=("Larger blocks.",), failed=("16 warps spill.",), advice=("Split K.",)),),
    pool=(
        Share(techniques=("vectorized_load",), kernels=3, best_ms=0.0251),
        Share(techniques=(), kernels=1, best_ms=0.07),
    ),
)  # fmt: skip

ASSIGNMENT = Assignment(direction=DIRECTION, others=(SECOND,), sample=1, samples=3, avoid=("vectorized_load",))

FAILED = FailedProposal(
    stage="build",
    phase="compile",
    reason="at 12:8: arange's arguments must be powers of two",
    draft=SOURCE.replace("1024", "1000"),
    description="A block of 1000.",
)
