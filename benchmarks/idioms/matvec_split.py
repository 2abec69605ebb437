"""Multiply a matrix by a vector; parts of the inner dimension are added in a second kernel.

{kind: matrix-vector product, style: two kernels and a workspace, dtype: bfloat16, small: [{M: 9, K: 264}, {M: 13, K: 400}]}
"""
M, K = 2048, 8192


def inputs():
    return [torch.randn(M, K), torch.randn(K, 1)]


def reference(a, x):
    return a @ x


# --- kernel ---
import torch
import triton
import triton.language as tl


@triton.jit
def partial(a_ptr, x_ptr, part_ptr, M, K, span, ROWS: tl.constexpr, BLOCK: tl.constexpr):
    row = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    begin = tl.program_id(1) * span
    end = tl.minimum(begin + span, K)
    acc = tl.zeros((ROWS, BLOCK), tl.float32)
    for start in range(begin, end, BLOCK):
        col = start + tl.arange(0, BLOCK)
        a = tl.load(a_ptr + row[:, None] * K + col[None, :], mask=(row[:, None] < M) & (col[None, :] < end), other=0.0)
        x = tl.load(x_ptr + col, mask=col < end, other=0.0)
        acc += a.to(tl.float32) * x.to(tl.float32)[None, :]
    tl.store(part_ptr + tl.program_id(1) * M + row, tl.sum(acc, axis=1), mask=row < M)


@triton.jit
def finish(part_ptr, y_ptr, M, PARTS: tl.constexpr, BLOCK: tl.constexpr):
    row = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    acc = tl.zeros((BLOCK,), tl.float32)
    for part in tl.static_range(PARTS):
        acc += tl.load(part_ptr + part * M + row, mask=row < M, other=0.0)
    tl.store(y_ptr + row, acc, mask=row < M)


def kernel_function(a, x):
    M, K = a.shape
    parts = 4
    workspace = torch.empty((parts, M), dtype=torch.float32, device=a.device)
    y = torch.empty((M, 1), dtype=a.dtype, device=a.device)
    partial[(triton.cdiv(M, 4), parts)](a, x, workspace, M, K, triton.cdiv(K, parts), ROWS=4, BLOCK=32)
    finish[(triton.cdiv(M, 8),)](workspace, y, M, PARTS=parts, BLOCK=8)
    return y
