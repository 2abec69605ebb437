"""Multiply by int8 weights with a scale for every output channel.

{kind: int8 weight-only matmul, style: weights cast in registers, dtype: bfloat16, inputs: {scale: {range: [0, 0.01]}}, small: [{M: 20, N: 24, K: 72}, {M: 17, N: 40, K: 48}]}
"""
M, N, K = 64, 2048, 2048


def inputs():
    return [torch.randn(M, K), torch.randint(-127, 128, (N, K), dtype=torch.int8), torch.rand(N) * 0.01]


def reference(x, w, scale):
    h = x.to(torch.promote_types(x.dtype, torch.float32))
    return ((h @ w.to(h.dtype).t()) * scale.to(h.dtype)).to(x.dtype)


# --- kernel ---
import torch
import triton
import triton.language as tl


@triton.jit
def w8_matmul(x_ptr, w_ptr, s_ptr, y_ptr, M, N, K, BM: tl.constexpr, BN: tl.constexpr, BK: tl.constexpr):
    m = tl.program_id(0) * BM + tl.arange(0, BM)
    n = tl.program_id(1) * BN + tl.arange(0, BN)
    acc = tl.zeros((BM, BN), tl.float32)
    for start in range(0, K, BK):
        k = start + tl.arange(0, BK)
        x = tl.load(x_ptr + m[:, None] * K + k[None, :], mask=(m[:, None] < M) & (k[None, :] < K), other=0.0)
        w = tl.load(w_ptr + n[None, :] * K + k[:, None], mask=(n[None, :] < N) & (k[:, None] < K), other=0)
        acc = tl.dot(x, w.to(x.dtype), acc)
    acc *= tl.load(s_ptr + n, mask=n < N, other=0.0).to(tl.float32)[None, :]
    tl.store(y_ptr + m[:, None] * N + n[None, :], acc, mask=(m[:, None] < M) & (n[None, :] < N))


def kernel_function(x, w, scale):
    (M, K), N = x.shape, w.shape[0]
    y = torch.empty((M, N), dtype=x.dtype, device=x.device)
    w8_matmul[(triton.cdiv(M, 16), triton.cdiv(N, 16))](x, w, scale, y, M, N, K, BM=16, BN=16, BK=32)
    return y
