"""Sum every row up to each element.

{kind: cumulative sum, style: tl.cumsum with a carry, dtype: float32, small: [{rows: 5, cols: 100}, {rows: 3, cols: 259}]}
"""
rows, cols = 2048, 2048


def inputs():
    return [torch.randn(rows, cols)]


def reference(x):
    return x.cumsum(dim=-1)


# --- kernel ---
import torch
import triton
import triton.language as tl


@triton.jit
def cumsum_kernel(x_ptr, y_ptr, n_cols, BLOCK: tl.constexpr):
    row = tl.program_id(0)
    carry = tl.zeros((1,), dtype=tl.float32)
    for start in range(0, n_cols, BLOCK):
        col = start + tl.arange(0, BLOCK)
        x = tl.load(x_ptr + row * n_cols + col, mask=col < n_cols, other=0.0)
        y = tl.cumsum(x, axis=0) + carry
        tl.store(y_ptr + row * n_cols + col, y, mask=col < n_cols)
        carry += tl.sum(x, axis=0)


def kernel_function(x):
    y = torch.empty_like(x)
    cumsum_kernel[(x.shape[0],)](x, y, x.shape[1], BLOCK=64)
    return y
