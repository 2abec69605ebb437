"""Sum every row.

{kind: sum of rows, style: loop over blocks of a row, dtype: float32, small: [{rows: 5, cols: 260}, {rows: 3, cols: 1003}]}
"""
rows, cols = 2048, 4096


def inputs():
    return [torch.randn(rows, cols)]


def reference(x):
    return x.sum(dim=1)


# --- kernel ---
import torch
import triton
import triton.language as tl


@triton.jit
def sum_rows(x_ptr, out_ptr, cols, stride, BLOCK: tl.constexpr):
    row = tl.program_id(0).to(tl.int64)
    acc = tl.zeros((BLOCK,), dtype=tl.float32)
    for start in range(0, cols, BLOCK):
        col = start + tl.arange(0, BLOCK)
        acc += tl.load(x_ptr + row * stride + col, mask=col < cols, other=0.0)
    tl.store(out_ptr + row, tl.sum(acc))


def kernel_function(x):
    out = torch.empty(x.shape[0], dtype=x.dtype, device=x.device)
    sum_rows[(x.shape[0],)](x, out, x.shape[1], x.stride(0), BLOCK=128)
    return out
