"""Multiply two float32 matrices with three TF32 products each.

{kind: float32 matmul, style: input precision by name, dtype: float32, small: [{M: 24, N: 20, K: 72}, {M: 17, N: 33, K: 40}]}
"""
M, N, K = 512, 512, 512


def inputs():
    return [torch.randn(M, K), torch.randn(K, N)]


def reference(a, b):
    return torch.mm(a, b)


# --- kernel ---
import torch
import triton
import triton.language as tl


@triton.jit
def mm(a_ptr, b_ptr, c_ptr, M, N, K, BM: tl.constexpr, BN: tl.constexpr, BK: tl.constexpr, PRECISION: tl.constexpr):
    m = tl.program_id(0) * BM + tl.arange(0, BM)
    n = tl.program_id(1) * BN + tl.arange(0, BN)
    k = tl.arange(0, BK)
    acc = tl.zeros((BM, BN), tl.float32)
    for start in range(0, tl.cdiv(K, BK) * BK, BK):
        a = tl.load(a_ptr + m[:, None] * K + (start + k)[None, :], mask=(m[:, None] < M) & (start + k < K)[None, :], other=0.0)
        b = tl.load(b_ptr + (start + k)[:, None] * N + n[None, :], mask=(start + k < K)[:, None] & (n[None, :] < N), other=0.0)
        acc = tl.dot(a, b, acc=acc, input_precision=PRECISION, out_dtype=tl.float32)
    tl.store(c_ptr + m[:, None] * N + n[None, :], acc, mask=(m[:, None] < M) & (n[None, :] < N))


def kernel_function(a, b):
    (M, K), N = a.shape, b.shape[1]
    c = a.new_empty((M, N))
    mm[(triton.cdiv(M, 16), triton.cdiv(N, 16))](a, b, c, M, N, K, BM=16, BN=16, BK=16, PRECISION="tf32x3")
    return c
