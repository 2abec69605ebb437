"""Transpose a matrix into new memory.

{kind: transpose, style: a tile is loaded and stored turned, dtype: bfloat16, small: [{rows: 24, cols: 40}, {rows: 35, cols: 72}]}
"""
rows, cols = 2048, 4096


def inputs():
    return [torch.randn(rows, cols)]


def reference(x):
    return x.t().contiguous()


# --- kernel ---
import torch
import triton
import triton.language as tl


@triton.jit
def transpose(x_ptr, y_ptr, rows, cols, TILE: tl.constexpr):
    r = tl.program_id(0) * TILE + tl.arange(0, TILE)
    c = tl.program_id(1) * TILE + tl.arange(0, TILE)
    tile = tl.load(x_ptr + r[:, None] * cols + c[None, :], mask=(r[:, None] < rows) & (c[None, :] < cols))
    tl.store(y_ptr + c[:, None] * rows + r[None, :], tl.trans(tile), mask=(c[:, None] < cols) & (r[None, :] < rows))


def kernel_function(x):
    rows, cols = x.shape
    y = torch.empty((cols, rows), dtype=x.dtype, device=x.device)
    transpose[(triton.cdiv(rows, 16), triton.cdiv(cols, 16))](x, y, rows, cols, TILE=16)
    return y
