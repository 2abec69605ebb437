"""Kernels that the tests rewrite: the problems' seeds and two of our own that show other shapes."""

from pathlib import Path

import yaml

from kopt.model.build import Launch
from kopt.model.device import Device
from kopt.model.diagnosis import Direction
from kopt.model.kernel import Kernel
from kopt.model.problem import Dtype, Problem, TensorSpec, Workload, WorkloadFacts
from kopt.problem.folder import load
from kopt.rewrite.transformation import RewriteFacts

ROOT = Path(__file__).parents[2]
NAMES = ("gemma3_swiglu", "layernorm", "matvec", "maxpool3d", "rmsnorm", "softmax")

PRODUCT = """\
import torch
import triton
import triton.language as tl


@triton.jit
def product_kernel(a_ptr, b_ptr, c_ptr, M, N, K, BM: tl.constexpr, BN: tl.constexpr, BK: tl.constexpr):
    pid_m = tl.program_id(0)
    pid_n = tl.program_id(1)
    offs_m = pid_m * BM + tl.arange(0, BM)
    offs_n = pid_n * BN + tl.arange(0, BN)
    acc = tl.zeros((BM, BN), dtype=tl.float32)
    for k in range(0, K, BK):
        offs_k = k + tl.arange(0, BK)
        a = tl.load(a_ptr + offs_m[:, None] * K + offs_k[None, :],
                    mask=(offs_m[:, None] < M) & (offs_k[None, :] < K), other=0.0)
        b = tl.load(b_ptr + offs_k[:, None] * N + offs_n[None, :],
                    mask=(offs_k[:, None] < K) & (offs_n[None, :] < N), other=0.0)
        acc += tl.dot(a, b)
    tl.store(c_ptr + offs_m[:, None] * N + offs_n[None, :], acc.to(c_ptr.dtype.element_ty),
             mask=(offs_m[:, None] < M) & (offs_n[None, :] < N))


def kernel_function(A, B):
    M, K = A.shape
    N = B.shape[1]
    C = torch.empty((M, N), dtype=A.dtype, device=A.device)
    grid = lambda meta: (triton.cdiv(M, meta["BM"]), triton.cdiv(N, meta["BN"]))
    product_kernel[grid](A, B, C, M, N, K, BM=32, BN=32, BK=16)
    return C
"""

ROWSUM = """\
import torch
import triton
import triton.language as tl


@triton.jit
def rowsum_kernel(a_ptr, b_ptr, y_ptr, K, stride, BLOCK: tl.constexpr, FOLDS: tl.constexpr):
    row = tl.program_id(0)
    total = 0.0
    for k in range(0, K, BLOCK):
        offs = k + tl.arange(0, BLOCK)
        a = tl.load(a_ptr + row * stride + offs, mask=offs < K, other=0.0).to(tl.float32)
        b = tl.load(b_ptr + offs, mask=offs < K, other=0.0).to(tl.float32)
        total += tl.sum(a * b, axis=0)
    for fold in range(FOLDS):
        total += 0.0 * tl.load(a_ptr + row * stride).to(tl.float32)
    tl.store(y_ptr + row, total.to(y_ptr.dtype.element_ty))


def kernel_function(A, B):
    M, K = A.shape
    y = torch.empty((M, 1), dtype=A.dtype, device=A.device)
    rowsum_kernel[(M,)](A, B, y, K, A.stride(0), BLOCK=64, FOLDS=3, num_warps=2)
    return y
"""

KEPT = """\
import torch
import triton
import triton.language as tl


@triton.jit
def kept_kernel(a_ptr, b_ptr, h_ptr, y_ptr, columns, stride, BLOCK: tl.constexpr):
    row = tl.program_id(0)
    offs = tl.arange(0, BLOCK)
    squares = tl.zeros((BLOCK,), dtype=tl.float32)
    for start in range(0, columns, BLOCK):
        mask = start + offs < columns
        a = tl.load(a_ptr + row * stride + start + offs, mask=mask, other=0.0).to(tl.float32)
        b = tl.load(b_ptr + row * stride + start + offs, mask=mask, other=0.0).to(tl.float32)
        h = a + b
        squares += h * h
        tl.store(h_ptr + row * columns + start + offs, h, mask=mask)
    norm = tl.sqrt(tl.sum(squares, axis=0) / columns)
    for start in range(0, columns, BLOCK):
        mask = start + offs < columns
        h = tl.load(h_ptr + row * columns + start + offs, mask=mask, other=0.0)
        tl.store(y_ptr + row * stride + start + offs, (h / (norm + 1e-5)).to(y_ptr.dtype.element_ty), mask=mask)


def kernel_function(a, b):
    rows, columns = a.shape
    h = torch.empty((rows, columns), dtype=torch.float32, device=a.device)
    y = torch.empty_like(a)
    kept_kernel[(rows,)](a, b, h, y, columns, a.stride(0), BLOCK=64, num_warps=2)
    del h
    return y
"""

KEPT_REFERENCE = """\
import torch
from torch import nn

R = 8
C = 256


class Model(nn.Module):
    def forward(self, a, b):
        h = a.float() + b.float()
        return (h / (h.pow(2).mean(1, keepdim=True).sqrt() + 1e-5)).to(a.dtype)


def get_inputs():
    return [torch.randn(R, C), torch.randn(R, C)]


def get_init_inputs():
    return []
"""

REFERENCE = """\
import torch
from torch import nn

M = 64
N = {columns}
K = 192


class Model(nn.Module):
    def forward(self, A, B):
        return torch.matmul(A, B)


def get_inputs():
    return [torch.rand(M, K), torch.rand(K, N)]


def get_init_inputs():
    return []
"""


def product_problem(name: str, source: str, columns: int) -> Problem:
    """A matrix product as a problem, with a ragged small workload."""
    ragged = {"M": 37, "K": 75} | ({"N": 41} if columns > 1 else {})
    return Problem(
        name=name, reference=REFERENCE.format(columns=columns), seed=Kernel(source=source), dtype=Dtype.BFLOAT16,
        main=(Workload(name="main"),),
        small=(Workload(name="even"), Workload(name="ragged", constants=ragged)),
    )  # fmt: skip


def problems() -> dict[str, Problem]:
    """Problems by name."""
    own = {"product": product_problem("product", PRODUCT, 64), "rowsum": product_problem("rowsum", ROWSUM, 1)}
    own["kept"] = Problem(
        name="kept", reference=KEPT_REFERENCE, seed=Kernel(source=KEPT), dtype=Dtype.BFLOAT16,
        main=(Workload(name="main"),),
        small=(Workload(name="even"), Workload(name="ragged", constants={"R": 3, "C": 75})),
    )  # fmt: skip
    return own | {name: load(ROOT / "config/problems" / name) for name in NAMES}


def sources() -> dict[str, str]:
    """Sources by problem, those that are judged fastest first."""
    return {name: problem.seed.source for name, problem in problems().items()}


def facts() -> RewriteFacts:
    """Facts for a device that is described, with a row of 8192 and some arguments of kernels."""
    device = Device(**yaml.safe_load((ROOT / "config/devices/h100.yaml").read_text()))
    x = TensorSpec(name="x", shape=(4096, 8192), dtype="bfloat16")
    workload = WorkloadFacts(workload="main", inputs=(x,), outputs=(x,), eager_ops=())
    sizes = (
        ("maxpool3d_kernel", "KERNEL", "3"), ("rmsnorm_kernel", "features", "64"),
        ("channel_softmax_kernel", "channels", "16"), ("channel_spread_kernel", "channels", "16"),
        ("softmax_prepare_online_kernel", "d", "512"),
        ("swiglu_kernel", "M", "512"), ("swiglu_kernel", "M", "128"), ("twin_kernel", "M", "64"),
        ("twin_kernel", "M", "32"),
    )  # fmt: skip
    launches = tuple(_launch(*size) for size in sizes)
    return RewriteFacts(launches=launches, device=device, workloads=(workload,))


def _launch(kernel: str, name: str, value: str) -> Launch:
    return Launch(
        kernel=kernel, grid=(1, 1, 1), num_warps=4, num_stages=3, num_ctas=1, shared_bytes=0, registers=0, spills=0,
        signature=(), arguments=((name, value),),
    )  # fmt: skip


def direction(bottleneck: str = "shallow_pipeline", *techniques: str) -> Direction:
    """A direction to follow."""
    return Direction(rank=1, bottleneck=bottleneck, cause="", direction="", techniques=techniques)
