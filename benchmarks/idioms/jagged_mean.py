"""Average the rows of each sequence of a jagged batch.

{kind: jagged reduction, style: offsets read in the kernel, dtype: float32, inputs: {offsets: as_given}, small: [{sequences: 5, length: 7, width: 40}, {sequences: 7, length: 5, width: 71}]}
"""
sequences, length, width = 128, 64, 1024


def inputs():
    lengths = torch.arange(sequences) * 5 % (2 * length) + 1
    offsets = F.pad(lengths.cumsum(0), (1, 0))
    return [torch.randn(sequences * 2 * length, width), offsets]


def reference(x, offsets):
    row = torch.arange(x.shape[0], device=x.device)
    inside = (row[None, :] >= offsets[:-1, None]) & (row[None, :] < offsets[1:, None])
    lengths = (offsets[1:] - offsets[:-1]).to(x.dtype)
    return inside.to(x.dtype) @ x / lengths[:, None]


# --- kernel ---
import torch
import triton
import triton.language as tl


@triton.jit
def jagged_mean(x_ptr, offsets_ptr, out_ptr, width, ROWS: tl.constexpr, BLOCK: tl.constexpr):
    sequence = tl.program_id(0)
    col = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    begin = tl.load(offsets_ptr + sequence)
    end = tl.load(offsets_ptr + sequence + 1)
    acc = tl.zeros((ROWS, BLOCK), dtype=tl.float32)
    for start in range(begin, end, ROWS):
        row = start + tl.arange(0, ROWS)
        mask = (row[:, None] < end) & (col[None, :] < width)
        acc += tl.load(x_ptr + row[:, None] * width + col[None, :], mask=mask, other=0.0)
    tl.store(out_ptr + sequence * width + col, tl.sum(acc, 0) / (end - begin), mask=col < width)


def kernel_function(x, offsets):
    sequences, width = offsets.numel() - 1, x.shape[1]
    out = torch.empty((sequences, width), dtype=x.dtype, device=x.device)
    jagged_mean[(sequences, triton.cdiv(width, 32))](x, offsets, out, width, ROWS=4, BLOCK=32)
    return out
