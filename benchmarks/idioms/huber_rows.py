"""Sum the Huber loss of every row.

{kind: Huber loss, style: tl.where chains, dtype: float32, small: [{rows: 9, cols: 40}, {rows: 13, cols: 71}]}
"""
rows, cols = 4096, 1024


def inputs():
    return [torch.randn(rows, cols), torch.randn(rows, cols)]


def reference(x, y):
    return F.huber_loss(x, y, reduction="none", delta=0.8).sum(-1)


# --- kernel ---
import torch
import triton
import triton.language as tl


@triton.jit
def huber(x_ptr, y_ptr, out_ptr, cols, delta, BLOCK: tl.constexpr):
    row = tl.program_id(0)
    acc = tl.zeros((BLOCK,), tl.float32)
    for start in range(0, cols, BLOCK):
        col = start + tl.arange(0, BLOCK)
        x = tl.load(x_ptr + row * cols + col, mask=col < cols, other=0.0)
        y = tl.load(y_ptr + row * cols + col, mask=col < cols, other=0.0)
        d = tl.abs(x - y)
        acc += tl.where(d < delta, 0.5 * d * d, delta * (d - 0.5 * delta))
    tl.store(out_ptr + row, tl.sum(acc, 0))


def kernel_function(x, y):
    out = torch.empty(x.shape[0], dtype=x.dtype, device=x.device)
    huber[(x.shape[0],)](x, y, out, x.shape[1], 0.8, BLOCK=16)
    return out
