"""Multiply int8 by int8 into int32, then scale rows and columns.

{kind: int8 matmul, style: integer accumulators, dtype: float32, inputs: {row_scale: {range: [0, 0.1]}, column_scale: {range: [0, 0.1]}}, small: [{M: 20, N: 24, K: 72}, {M: 17, N: 40, K: 48}]}
"""
M, N, K = 256, 1024, 1024


def inputs():
    a = torch.randint(-127, 128, (M, K), dtype=torch.int8)
    b = torch.randint(-127, 128, (N, K), dtype=torch.int8)
    return [a, b, torch.rand(M) * 0.1, torch.rand(N) * 0.1]


def reference(a, b, row_scale, column_scale):
    product = a.to(row_scale.dtype) @ b.to(row_scale.dtype).t()
    return product * row_scale[:, None] * column_scale[None, :]


# --- kernel ---
import torch
import triton
import triton.language as tl


@triton.jit
def w8a8(a_ptr, b_ptr, r_ptr, c_ptr, y_ptr, M, N, K, BM: tl.constexpr, BN: tl.constexpr, BK: tl.constexpr):
    m = tl.program_id(0) * BM + tl.arange(0, BM)
    n = tl.program_id(1) * BN + tl.arange(0, BN)
    acc = tl.zeros((BM, BN), tl.int32)
    for start in range(0, K, BK):
        k = start + tl.arange(0, BK)
        a = tl.load(a_ptr + m[:, None] * K + k[None, :], mask=(m[:, None] < M) & (k[None, :] < K), other=0)
        b = tl.load(b_ptr + n[None, :] * K + k[:, None], mask=(n[None, :] < N) & (k[:, None] < K), other=0)
        acc = tl.dot(a, b, acc, out_dtype=tl.int32)
    rows = tl.load(r_ptr + m, mask=m < M, other=0.0)
    columns = tl.load(c_ptr + n, mask=n < N, other=0.0)
    y = acc.to(tl.float32) * rows[:, None] * columns[None, :]
    tl.store(y_ptr + m[:, None] * N + n[None, :], y, mask=(m[:, None] < M) & (n[None, :] < N))


def kernel_function(a, b, row_scale, column_scale):
    (M, K), N = a.shape, b.shape[0]
    y = torch.empty((M, N), dtype=torch.float32, device=a.device)
    w8a8[(triton.cdiv(M, 16), triton.cdiv(N, 16))](a, b, row_scale, column_scale, y, M, N, K, BM=16, BN=16, BK=32)
    return y
