"""Sort every row in descending order.

{kind: sort, style: tl.sort, dtype: float32, small: [{rows: 5, cols: 30}, {rows: 3, cols: 61}]}
"""
rows, cols = 4096, 1000


def inputs():
    return [torch.randn(rows, cols)]


def reference(x):
    return torch.sort(x, dim=1, descending=True).values


# --- kernel ---
import torch
import triton
import triton.language as tl


@triton.jit
def sort_kernel(x_ptr, y_ptr, cols, BLOCK: tl.constexpr):
    row = tl.program_id(0)
    col = tl.arange(0, BLOCK)
    x = tl.load(x_ptr + row * cols + col, mask=col < cols, other=float("-inf"))
    tl.store(y_ptr + row * cols + col, tl.sort(x, descending=True), mask=col < cols)


def kernel_function(x):
    y = torch.empty_like(x)
    sort_kernel[(x.shape[0],)](x, y, x.shape[1], BLOCK=triton.next_power_of_2(x.shape[1]))
    return y
