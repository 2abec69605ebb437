"""Return the Euclidean distances between two sets of points.

{kind: distances, style: broadcast differences in a loop over dimensions, dtype: float32, small: [{M: 20, N: 33, D: 5}, {M: 37, N: 18, D: 7}]}
"""
M, N, D = 1024, 1024, 32


def inputs():
    return [torch.randn(M, D), torch.randn(N, D)]


def reference(x, y):
    return (x[:, None, :] - y[None, :, :]).pow(2).sum(-1).sqrt()


# --- kernel ---
import torch
import triton
import triton.language as tl


@triton.jit
def distances(x_ptr, y_ptr, out_ptr, M, N, D, BM: tl.constexpr, BN: tl.constexpr):
    m = tl.program_id(0) * BM + tl.arange(0, BM)
    n = tl.program_id(1) * BN + tl.arange(0, BN)
    acc = tl.zeros((BM, BN), tl.float32)
    for d in range(D):
        x = tl.load(x_ptr + m * D + d, mask=m < M, other=0.0)
        y = tl.load(y_ptr + n * D + d, mask=n < N, other=0.0)
        gap = x[:, None] - y[None, :]
        acc += gap * gap
    tl.store(out_ptr + m[:, None] * N + n[None, :], tl.sqrt(acc), mask=(m[:, None] < M) & (n[None, :] < N))


def kernel_function(x, y):
    (M, D), N = x.shape, y.shape[0]
    out = torch.empty((M, N), dtype=x.dtype, device=x.device)
    distances[(triton.cdiv(M, 16), triton.cdiv(N, 16))](x, y, out, M, N, D, BM=16, BN=16)
    return out
