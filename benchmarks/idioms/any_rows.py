"""Return whether any element of a row is greater than a limit.

{kind: any, style: bool reduction of integers, dtype: float32, small: [{rows: 9, cols: 40}, {rows: 7, cols: 101}]}
"""
rows, cols = 4096, 2048


def inputs():
    return [torch.randn(rows, cols), torch.randn(rows) + 2.5]


def reference(x, limit):
    return (x > limit[:, None]).any(dim=1)


# --- kernel ---
import torch
import triton
import triton.language as tl


@triton.jit
def either(a, b):
    return a or b


@triton.jit
def any_kernel(x_ptr, limit_ptr, out_ptr, cols, BLOCK: tl.constexpr):
    row = tl.program_id(0)
    limit = tl.load(limit_ptr + row)
    seen = tl.zeros((BLOCK,), dtype=tl.int1)
    for start in range(0, cols, BLOCK):
        col = start + tl.arange(0, BLOCK)
        x = tl.load(x_ptr + row * cols + col, mask=col < cols, other=float("-inf"))
        seen = seen or (x > limit)
    tl.store(out_ptr + row, tl.reduce(seen, axis=0, combine_fn=either))


def kernel_function(x, limit):
    out = torch.empty(x.shape[0], dtype=torch.bool, device=x.device)
    any_kernel[(x.shape[0],)](x, limit, out, x.shape[1], BLOCK=32)
    return out
