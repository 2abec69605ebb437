"""Quantise two matrices to float8 by given scales, multiply them, and scale back.

{kind: fp8 matmul, style: quantised on the way, dtype: float32, tolerance: {absolute: 0.05, relative: 0.1, matched: 0.99}, small: [{M: 20, N: 24, K: 72}, {M: 17, N: 40, K: 48}]}
"""
M, N, K = 256, 512, 1024


def inputs():
    return [torch.randn(M, K), torch.randn(N, K)]


def reference(a, b):
    def quantised(x):
        return x.to(torch.float8_e4m3fn).to(x.dtype)

    return quantised(a.clamp(-448, 448)) @ quantised(b.clamp(-448, 448)).t()


# --- kernel ---
import torch
import triton
import triton.language as tl


@triton.jit
def fp8_matmul(a_ptr, b_ptr, y_ptr, M, N, K, BM: tl.constexpr, BN: tl.constexpr, BK: tl.constexpr):
    m = tl.program_id(0) * BM + tl.arange(0, BM)
    n = tl.program_id(1) * BN + tl.arange(0, BN)
    acc = tl.zeros((BM, BN), tl.float32)
    for start in range(0, K, BK):
        k = start + tl.arange(0, BK)
        a = tl.load(a_ptr + m[:, None] * K + k[None, :], mask=(m[:, None] < M) & (k[None, :] < K), other=0.0)
        b = tl.load(b_ptr + n[None, :] * K + k[:, None], mask=(n[None, :] < N) & (k[:, None] < K), other=0.0)
        a = tl.clamp(a, -448.0, 448.0).to(tl.float8e4nv)
        b = tl.clamp(b, -448.0, 448.0).to(tl.float8e4nv)
        acc += tl.dot(a, b)
    tl.store(y_ptr + m[:, None] * N + n[None, :], acc, mask=(m[:, None] < M) & (n[None, :] < N))


def kernel_function(a, b):
    (M, K), N = a.shape, b.shape[0]
    y = torch.empty((M, N), dtype=torch.float32, device=a.device)
    fp8_matmul[(triton.cdiv(M, 16), triton.cdiv(N, 16))](a, b, y, M, N, K, BM=16, BN=16, BK=32)
    return y
