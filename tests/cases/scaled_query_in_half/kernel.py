import torch
import triton
import triton.language as tl


@triton.jit
def scores(q_ptr, k_ptr, y_ptr, M, N, K: tl.constexpr, BLOCK: tl.constexpr):
    rows = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    columns = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    ks = tl.arange(0, K)
    q = tl.load(q_ptr + rows[:, None] * K + ks[None, :], mask=rows[:, None] < M, other=0.0)
    k = tl.load(k_ptr + columns[None, :] * K + ks[:, None], mask=columns[None, :] < N, other=0.0)
    q = (q * 0.18).to(tl.float16)
    y = tl.dot(q, k)
    tl.store(
        y_ptr + rows[:, None] * N + columns[None, :],
        y.to(tl.float16),
        mask=(rows[:, None] < M) & (columns[None, :] < N),
    )


def kernel_function(q, k):
    M, K = q.shape
    N = k.shape[0]
    y = torch.empty((M, N), dtype=q.dtype, device=q.device)
    scores[(triton.cdiv(M, 64), triton.cdiv(N, 64))](q, k, y, M, N, K=K, BLOCK=64)
    return y
