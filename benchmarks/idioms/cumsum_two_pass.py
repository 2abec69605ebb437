"""Sum a long vector up to each element, in three launches.

{kind: scan of a vector, style: partial sums in a first pass, dtype: float32, small: [{n: 500}, {n: 1027}]}
"""
n = 1 << 20


def inputs():
    return [torch.rand(n)]


def reference(x):
    return torch.cumsum(x, 0)


# --- kernel ---
import torch
import triton
import triton.language as tl


@triton.jit
def block_sums(x, parts, n, BLOCK: tl.constexpr):
    pid = tl.program_id(0)
    at = pid * BLOCK + tl.arange(0, BLOCK)
    tl.store(parts + pid, tl.sum(tl.load(x + at, mask=at < n, other=0.0)))


@triton.jit
def scan_parts(parts, before, count, BLOCK: tl.constexpr):
    at = tl.arange(0, BLOCK)
    part = tl.load(parts + at, mask=at < count, other=0.0)
    tl.store(before + at, tl.cumsum(part) - part, mask=at < count)


@triton.jit
def scan_blocks(x, before, y, n, BLOCK: tl.constexpr):
    pid = tl.program_id(0)
    at = pid * BLOCK + tl.arange(0, BLOCK)
    value = tl.load(x + at, mask=at < n, other=0.0)
    tl.store(y + at, tl.cumsum(value) + tl.load(before + pid), mask=at < n)


def kernel_function(x):
    n, block = x.numel(), 512 if x.numel() > 4096 else 64
    count = triton.cdiv(n, block)
    parts = torch.empty(count, dtype=torch.float32, device=x.device)
    before, y = torch.empty_like(parts), torch.empty_like(x)
    block_sums[(count,)](x, parts, n, BLOCK=block)
    scan_parts[(1,)](parts, before, count, BLOCK=triton.next_power_of_2(count))
    scan_blocks[(count,)](x, before, y, n, BLOCK=block)
    return y
