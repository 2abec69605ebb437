"""Fill where a boolean mask is set.

{kind: masked fill, style: bool pointers, dtype: float32, small: [{rows: 7, cols: 100}, {rows: 3, cols: 257}]}
"""
rows, cols = 4096, 2048


def inputs():
    return [torch.randn(rows, cols), torch.rand(rows, cols) < 0.3]


def reference(x, mask):
    return x.masked_fill(mask, -10000.0)


# --- kernel ---
import torch
import triton
import triton.language as tl


@triton.jit
def masked_fill_kernel(inp, expand_mask, value, out, N, BLOCK_SIZE: tl.constexpr):
    pid = tl.program_id(axis=0)
    offsets = pid * BLOCK_SIZE + tl.arange(0, BLOCK_SIZE)
    mask = offsets < N
    fill_mask = tl.load(expand_mask + offsets, mask=mask, other=0).to(tl.int1)
    cur_inp = tl.load(inp + offsets, mask=(not fill_mask) and mask, other=0)
    tl.store(out + offsets, cur_inp, (not fill_mask) and mask)
    tl.store(out + offsets, value, fill_mask and mask)


def kernel_function(x, mask):
    out = torch.empty_like(x)
    N = x.numel()
    masked_fill_kernel[(triton.cdiv(N, 256),)](x, mask.to(torch.int8), -10000.0, out, N, BLOCK_SIZE=256)
    return out
