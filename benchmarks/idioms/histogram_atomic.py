"""Count how often each integer occurs.

{kind: histogram, style: atomic counters, dtype: float32, small: [{n: 500, bins: 20}, {n: 1027, bins: 37}]}
"""
n, bins = 1 << 20, 256


def inputs():
    return [torch.randint(0, bins, (n,), dtype=torch.int32)]


def reference(x):
    return torch.zeros(bins, dtype=torch.int32, device=x.device).index_add(0, x.long(), torch.ones_like(x))


# --- kernel ---
import torch
import triton
import triton.language as tl


@triton.jit
def count(x_ptr, out_ptr, n, bins, BLOCK: tl.constexpr, BINS: tl.constexpr):
    at = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    x = tl.load(x_ptr + at, mask=at < n, other=0)
    counts = tl.histogram(x, BINS, mask=at < n)
    place = tl.arange(0, BINS)
    tl.atomic_add(out_ptr + place, counts, mask=(place < bins) & (counts > 0))


def kernel_function(x, bins):
    out = torch.zeros(bins, dtype=torch.int32, device=x.device)
    count[(triton.cdiv(x.numel(), 256),)](x, out, x.numel(), bins, BLOCK=256, BINS=triton.next_power_of_2(bins))
    return out
