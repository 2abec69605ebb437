"""Roll rows by a number of places and reverse columns.

{kind: roll, style: index arithmetic with modulo, dtype: float32, small: [{rows: 9, cols: 40}, {rows: 13, cols: 71}]}
"""
rows, cols = 2048, 2048
shift = 3


def inputs():
    return [torch.randn(rows, cols)]


def reference(x):
    return torch.roll(x, shift, 0).flip(1)


# --- kernel ---
import torch
import triton
import triton.language as tl


@triton.jit
def roll_flip(x_ptr, y_ptr, rows, cols, shift, BLOCK: tl.constexpr):
    row = tl.program_id(0)
    col = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    source = (row + rows - shift % rows) % rows
    x = tl.load(x_ptr + source * cols + (cols - 1 - col), mask=col < cols)
    tl.store(y_ptr + row * cols + col, x, mask=col < cols)


def kernel_function(x, shift):
    y = torch.empty_like(x)
    rows, cols = x.shape
    roll_flip[(rows, triton.cdiv(cols, 16))](x, y, rows, cols, shift, BLOCK=16)
    return y
