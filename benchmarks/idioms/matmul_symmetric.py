"""Multiply a matrix by its own transpose, computing one triangle and mirroring it.

{kind: symmetric product, style: an algebraic shortcut, dtype: float16, small: [{M: 40, K: 72}, {M: 50, K: 40}]}
"""
M, K = 1024, 512


def inputs():
    return [torch.randn(M, K)]


def reference(a):
    return a @ a.t()


# --- kernel ---
import torch
import triton
import triton.language as tl


@triton.jit
def syrk(a_ptr, c_ptr, M, K, BM: tl.constexpr, BK: tl.constexpr):
    i, j = tl.program_id(0), tl.program_id(1)
    if j > i:
        return
    m = i * BM + tl.arange(0, BM)
    n = j * BM + tl.arange(0, BM)
    acc = tl.zeros((BM, BM), tl.float32)
    for start in range(0, K, BK):
        k = start + tl.arange(0, BK)
        left = tl.load(a_ptr + m[:, None] * K + k[None, :], mask=(m < M)[:, None] & (k < K)[None, :], other=0.0)
        right = tl.load(a_ptr + n[None, :] * K + k[:, None], mask=(n < M)[None, :] & (k < K)[:, None], other=0.0)
        acc = tl.dot(left, right, acc)
    c = acc.to(c_ptr.dtype.element_ty)
    mask = (m < M)[:, None] & (n < M)[None, :]
    tl.store(c_ptr + m[:, None] * M + n[None, :], c, mask=mask)
    if i != j:
        tl.store(c_ptr + n[None, :] * M + m[:, None], c, mask=mask)


def kernel_function(a):
    M, K = a.shape
    c = torch.empty((M, M), device=a.device, dtype=a.dtype)
    blocks = triton.cdiv(M, 16)
    syrk[(blocks, blocks)](a, c, M, K, BM=16, BK=16)
    return c
