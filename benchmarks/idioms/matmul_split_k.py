"""Multiply two matrices; programs share the inner dimension and add atomically.

{kind: split-K matmul, style: atomic additions of partial products, dtype: float32, small: [{M: 24, N: 20, K: 136}, {M: 17, N: 33, K: 200}]}
"""
M, N, K = 256, 256, 8192


def inputs():
    return [torch.randn(M, K), torch.randn(K, N)]


def reference(a, b):
    return a @ b


# --- kernel ---
import torch
import triton
import triton.language as tl


@triton.jit
def split_k(a_ptr, b_ptr, c_ptr, M, N, K, SPLIT: tl.constexpr, BM: tl.constexpr, BN: tl.constexpr, BK: tl.constexpr):
    m = tl.program_id(0) * BM + tl.arange(0, BM)
    n = tl.program_id(1) * BN + tl.arange(0, BN)
    part = tl.program_id(2)
    acc = tl.zeros((BM, BN), tl.float32)
    for start in range(part * BK, K, SPLIT * BK):
        k = start + tl.arange(0, BK)
        a = tl.load(a_ptr + m[:, None] * K + k[None, :], mask=(m[:, None] < M) & (k[None, :] < K), other=0.0)
        b = tl.load(b_ptr + k[:, None] * N + n[None, :], mask=(k[:, None] < K) & (n[None, :] < N), other=0.0)
        acc += tl.dot(a, b, input_precision="ieee")
    tl.atomic_add(c_ptr + m[:, None] * N + n[None, :], acc, mask=(m[:, None] < M) & (n[None, :] < N))


def kernel_function(a, b):
    (M, K), N = a.shape, b.shape[1]
    c = torch.zeros((M, N), device=a.device, dtype=a.dtype)
    split_k[(triton.cdiv(M, 16), triton.cdiv(N, 16), 3)](a, b, c, M, N, K, SPLIT=3, BM=16, BN=16, BK=32)
    return c
