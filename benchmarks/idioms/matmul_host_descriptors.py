"""Multiply two matrices through tensor descriptors made on the host.

{kind: matmul by TMA, style: host descriptors, dtype: float16, small: [{M: 40, N: 48, K: 80}, {M: 50, N: 40, K: 72}]}
"""
M, N, K = 1024, 1024, 1024


def inputs():
    return [torch.randn(M, K), torch.randn(N, K)]


def reference(a, b):
    return a @ b.t()


# --- kernel ---
import torch
import triton
import triton.language as tl
from triton.tools.tensor_descriptor import TensorDescriptor


def set_blocks(nargs):
    m, n, k = nargs["BLOCK_M"], nargs["BLOCK_N"], nargs["BLOCK_K"]
    nargs["a_desc"].block_shape = [m, k]
    nargs["b_desc"].block_shape = [n, k]
    nargs["c_desc"].block_shape = [m, n]


configs = [
    triton.Config({"BLOCK_M": m, "BLOCK_N": 32, "BLOCK_K": 32}, num_stages=2, num_warps=4, pre_hook=set_blocks)
    for m in (16, 32)
]


@triton.autotune(configs=configs, key=["M", "N", "K"])
@triton.jit
def matmul_tma(a_desc, b_desc, c_desc, M, N, K, BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_K: tl.constexpr):
    offs_m = tl.program_id(0) * BLOCK_M
    offs_n = tl.program_id(1) * BLOCK_N
    acc = tl.zeros((BLOCK_M, BLOCK_N), dtype=tl.float32)
    for k in range(tl.cdiv(K, BLOCK_K)):
        a = a_desc.load([offs_m, k * BLOCK_K])
        b = b_desc.load([offs_n, k * BLOCK_K])
        acc = tl.dot(a, b.T, acc)
    c_desc.store([offs_m, offs_n], acc.to(tl.float16))


def kernel_function(a, b):
    (M, K), (N, _) = a.shape, b.shape
    c = torch.empty((M, N), device=a.device, dtype=a.dtype)
    dummy = [1, 1]
    a_desc = TensorDescriptor(a, a.shape, a.stride(), dummy)
    b_desc = TensorDescriptor(b, b.shape, b.stride(), dummy)
    c_desc = TensorDescriptor(c, c.shape, c.stride(), dummy)
    grid = lambda META: (triton.cdiv(M, META["BLOCK_M"]), triton.cdiv(N, META["BLOCK_N"]))
    matmul_tma[grid](a_desc, b_desc, c_desc, M, N, K)
    return c
