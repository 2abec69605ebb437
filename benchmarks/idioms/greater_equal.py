"""Compare two tensors; the output is boolean.

{kind: comparison, style: bool output, dtype: float16, small: [{rows: 7, cols: 100}, {rows: 3, cols: 257}]}
"""
rows, cols = 2048, 4096


def inputs():
    return [torch.randn(rows, cols), torch.randn(rows, 1)]


def reference(x, threshold):
    return x >= threshold


# --- kernel ---
import torch
import triton
import triton.language as tl


@triton.jit
def greater_equal(x_ptr, t_ptr, out_ptr, cols, BLOCK: tl.constexpr):
    row = tl.program_id(0)
    threshold = tl.load(t_ptr + row)
    for start in range(0, cols, BLOCK):
        col = start + tl.arange(0, BLOCK)
        x = tl.load(x_ptr + row * cols + col, mask=col < cols, other=0.0)
        tl.store(out_ptr + row * cols + col, x >= threshold, mask=col < cols)


def kernel_function(x, threshold):
    rows, cols = x.shape
    out = torch.empty((rows, cols), dtype=torch.bool, device=x.device)
    greater_equal[(rows,)](x, threshold, out, cols, BLOCK=64)
    return out
