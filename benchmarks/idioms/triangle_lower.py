"""Keep the lower triangle of every matrix of a batch.

{kind: triangle, style: blocks that skip what is zero, dtype: float32, small: [{B: 2, M: 20, N: 33}, {B: 3, M: 37, N: 18}]}
"""
B, M, N = 8, 1024, 1024


def inputs():
    return [torch.randn(B, M, N)]


def reference(x):
    return torch.tril(x, diagonal=1)


# --- kernel ---
import torch
import triton
import triton.language as tl


@triton.jit
def tril_kernel(X, Y, M, N, diagonal, M_BLOCK: tl.constexpr, N_BLOCK: tl.constexpr):
    m = tl.program_id(0) * M_BLOCK + tl.arange(0, M_BLOCK)[:, None]
    base = tl.program_id(1) * M * N
    for start in range(0, N, N_BLOCK):
        n = start + tl.arange(0, N_BLOCK)[None, :]
        mask = (m < M) & (n < N)
        keep = n <= m + diagonal
        x = tl.load(X + base + m * N + n, mask=mask & keep, other=0.0)
        tl.store(Y + base + m * N + n, x, mask=mask)


def kernel_function(x):
    B, M, N = x.shape
    y = torch.empty_like(x)
    tril_kernel[(triton.cdiv(M, 8), B)](x, y, M, N, 1, M_BLOCK=8, N_BLOCK=16)
    return y
