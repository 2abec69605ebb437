"""Copy jagged sequences to rows of one length, padded with a constant.

{kind: jagged padding, style: early store of padding, dtype: float16, inputs: {offsets: as_given}, small: [{sequences: 5, longest: 12, width: 40}, {sequences: 7, longest: 9, width: 72}]}
"""
sequences, longest, width = 64, 128, 512


def inputs():
    lengths = torch.arange(sequences) * 5 % longest + 1
    offsets = F.pad(lengths.cumsum(0), (1, 0)).to(torch.int32)
    return [torch.randn(sequences * longest, width), offsets]


def reference(x, offsets):
    at = torch.arange(longest, device=x.device)
    row = (offsets[:-1, None] + at[None, :]).long()
    live = row < offsets[1:, None]
    return torch.where(live[..., None], x[row.clamp(max=x.shape[0] - 1)], -1.0)


# --- kernel ---
import torch
import triton
import triton.language as tl


@triton.jit
def pad(x_ptr, offsets_ptr, out_ptr, longest, width, BLOCK: tl.constexpr):
    t, sequence = tl.program_id(0), tl.program_id(1)
    col = tl.arange(0, BLOCK)
    begin, end = tl.load(offsets_ptr + sequence), tl.load(offsets_ptr + sequence + 1)
    target = out_ptr + (sequence * longest + t) * width + col
    if t >= end - begin:
        tl.store(target, tl.full((BLOCK,), -1.0, tl.float32), mask=col < width)
        return
    tl.store(target, tl.load(x_ptr + (begin + t) * width + col, mask=col < width), mask=col < width)


def kernel_function(x, offsets, longest):
    sequences, width = offsets.numel() - 1, x.shape[1]
    out = torch.empty((sequences, longest, width), dtype=x.dtype, device=x.device)
    pad[(longest, sequences)](x, offsets, out, longest, width, BLOCK=triton.next_power_of_2(width))
    return out
