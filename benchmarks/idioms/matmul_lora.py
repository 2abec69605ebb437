"""Add a low-rank product to a matrix product.

{kind: low-rank adapter, style: two products in one kernel, dtype: float16, small: [{M: 24, N: 40, K: 72}, {M: 19, N: 24, K: 40}]}
"""
M, N, K = 512, 1024, 1024
R = 16


def inputs():
    return [torch.randn(M, K), torch.randn(K, N) * 0.1, torch.randn(K, R) * 0.1, torch.randn(R, N)]


def reference(x, w, a, b):
    h = x.to(torch.promote_types(x.dtype, torch.float32))
    low = h @ a.to(h.dtype) @ b.to(h.dtype)
    return (h @ w.to(h.dtype) + 2.0 * low).to(x.dtype)


# --- kernel ---
import torch
import triton
import triton.language as tl


@triton.jit
def lora(x_ptr, w_ptr, a_ptr, b_ptr, y_ptr, scale, M, N, K, R: tl.constexpr, BM: tl.constexpr, BN: tl.constexpr, BK: tl.constexpr):
    m = tl.program_id(0) * BM + tl.arange(0, BM)
    n = tl.program_id(1) * BN + tl.arange(0, BN)
    r = tl.arange(0, R)
    acc = tl.zeros((BM, BN), tl.float32)
    low = tl.zeros((BM, R), tl.float32)
    for start in range(0, K, BK):
        k = start + tl.arange(0, BK)
        x = tl.load(x_ptr + m[:, None] * K + k[None, :], mask=(m[:, None] < M) & (k[None, :] < K), other=0.0)
        w = tl.load(w_ptr + k[:, None] * N + n[None, :], mask=(k[:, None] < K) & (n[None, :] < N), other=0.0)
        a = tl.load(a_ptr + k[:, None] * R + r[None, :], mask=k[:, None] < K, other=0.0)
        acc = tl.dot(x, w, acc)
        low = tl.dot(x, a, low)
    b = tl.load(b_ptr + r[:, None] * N + n[None, :], mask=n[None, :] < N, other=0.0)
    acc += scale * tl.dot(low, b.to(tl.float32), input_precision="ieee")
    tl.store(y_ptr + m[:, None] * N + n[None, :], acc, mask=(m[:, None] < M) & (n[None, :] < N))


def kernel_function(x, w, a, b, R):
    (M, K), N = x.shape, w.shape[1]
    y = torch.empty((M, N), dtype=x.dtype, device=x.device)
    lora[(triton.cdiv(M, 16), triton.cdiv(N, 16))](x, w, a, b, y, 2.0, M, N, K, R=R, BM=16, BN=16, BK=32)
    return y
