"""Sum every column; programs add to a shared row under a lock.

{kind: sum of columns, style: spin lock, dtype: float32, small: [{rows: 37, cols: 40}, {rows: 65, cols: 100}]}
"""
rows, cols = 2048, 4096


def inputs():
    return [torch.randn(rows, cols)]


def reference(x):
    return x.sum(0)


# --- kernel ---
import torch
import triton
import triton.language as tl


@triton.jit
def column_sum(x_ptr, out_ptr, lock_ptr, rows, cols, ROWS: tl.constexpr, BLOCK: tl.constexpr):
    row = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    col = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    mask = (row[:, None] < rows) & (col[None, :] < cols)
    part = tl.sum(tl.load(x_ptr + row[:, None] * cols + col[None, :], mask=mask, other=0.0), axis=0)
    lock = lock_ptr + tl.program_id(1)
    while tl.atomic_cas(lock, 0, 1) == 1:
        pass
    old = tl.load(out_ptr + col, mask=col < cols, other=0.0)
    tl.store(out_ptr + col, old + part, mask=col < cols)
    tl.debug_barrier()
    tl.atomic_xchg(lock, 0)


def kernel_function(x):
    rows, cols = x.shape
    out = torch.zeros(cols, dtype=x.dtype, device=x.device)
    grid = (triton.cdiv(rows, 16), triton.cdiv(cols, 64))
    locks = torch.zeros(grid[1], dtype=torch.int32, device=x.device)
    column_sum[grid](x, out, locks, rows, cols, ROWS=16, BLOCK=64)
    return out
