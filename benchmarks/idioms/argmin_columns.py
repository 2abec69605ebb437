"""Return the index of the smallest element of every column.

{kind: argmin, style: a running minimum per lane, dtype: float32, small: [{rows: 37, cols: 40}, {rows: 65, cols: 71}]}
"""
rows, cols = 2048, 2048


def inputs():
    return [torch.randn(rows, cols)]


def reference(x):
    return torch.argmin(x, dim=0)


# --- kernel ---
import torch
import triton
import triton.language as tl


@triton.jit
def argmin_kernel(x_ptr, out_ptr, rows, cols, BLOCK: tl.constexpr):
    col = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    mask = col < cols
    smallest = tl.load(x_ptr + col, mask=mask, other=0.0)
    where = tl.zeros((BLOCK,), dtype=tl.int64)
    row = 1
    while row < rows:
        x = tl.load(x_ptr + row * cols + col, mask=mask, other=0.0)
        less = x < smallest
        smallest = tl.where(less, x, smallest)
        where = tl.where(less, row, where)
        row += 1
    tl.store(out_ptr + col, where, mask=mask)


def kernel_function(x):
    rows, cols = x.shape
    out = torch.empty(cols, dtype=torch.int64, device=x.device)
    argmin_kernel[(triton.cdiv(cols, 16),)](x, out, rows, cols, BLOCK=16)
    return out
