"""Count the bits of packed words of every row.

{kind: integer arithmetic, style: shifts and masks of int32, dtype: float32, small: [{rows: 9, words: 20}, {rows: 13, words: 37}]}
"""
rows, words = 4096, 1024


def inputs():
    return [torch.randint(-(1 << 31), 1 << 31, (rows, words), dtype=torch.int64).to(torch.int32)]


def reference(x):
    bits = (x[..., None] >> torch.arange(32, dtype=torch.int32, device=x.device)) & 1
    return bits.sum((1, 2)).to(torch.int32)


# --- kernel ---
import torch
import triton
import triton.language as tl


@triton.jit
def popcount(x_ptr, out_ptr, words, BLOCK: tl.constexpr):
    row = tl.program_id(0)
    acc = tl.zeros((BLOCK,), tl.int32)
    for start in range(0, words, BLOCK):
        col = start + tl.arange(0, BLOCK)
        x = tl.load(x_ptr + row * words + col, mask=col < words, other=0).to(tl.uint32, bitcast=True)
        x = x - ((x >> 1) & 0x55555555)
        x = (x & 0x33333333) + ((x >> 2) & 0x33333333)
        x = (x + (x >> 4)) & 0x0F0F0F0F
        x = x + (x >> 8)
        x = x + (x >> 16)
        acc += (x & 0x3F).to(tl.int32)
    tl.store(out_ptr + row, tl.sum(acc, 0))


def kernel_function(x):
    out = torch.empty(x.shape[0], dtype=torch.int32, device=x.device)
    popcount[(x.shape[0],)](x, out, x.shape[1], BLOCK=16)
    return out
