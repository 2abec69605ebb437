"""Average all elements to a scalar: the last program to arrive adds the partial sums.

{kind: mean of all, style: the last arriver finishes, dtype: float32, small: [{n: 1000}, {n: 4099}]}
"""
n = 1 << 22


def inputs():
    return [torch.rand(n)]


def reference(x):
    return x.mean()


# --- kernel ---
import torch
import triton
import triton.language as tl


@triton.jit
def mean_kernel(x_ptr, part_ptr, count_ptr, out_ptr, n, BLOCK: tl.constexpr, PARTS: tl.constexpr):
    pid = tl.program_id(0)
    programs = tl.num_programs(0)
    acc = tl.zeros((BLOCK,), dtype=tl.float32)
    for start in range(pid * BLOCK, n, programs * BLOCK):
        at = start + tl.arange(0, BLOCK)
        acc += tl.load(x_ptr + at, mask=at < n, other=0.0)
    tl.store(part_ptr + pid, tl.sum(acc))
    tl.debug_barrier()
    arrived = tl.atomic_add(count_ptr, 1, sem="acq_rel", scope="gpu")
    if arrived == programs - 1:
        part = tl.arange(0, PARTS)
        total = tl.load(part_ptr + part, mask=part < programs, other=0.0, cache_modifier=".cg")
        tl.store(out_ptr, tl.sum(total) / n)


def kernel_function(x):
    programs = min(triton.cdiv(x.numel(), 256), 264)
    parts = torch.empty(programs, dtype=torch.float32, device=x.device)
    count = torch.zeros((), dtype=torch.int32, device=x.device)
    out = torch.empty((), dtype=x.dtype, device=x.device)
    mean_kernel[(programs,)](x, parts, count, out, x.numel(), BLOCK=256, PARTS=triton.next_power_of_2(programs))
    return out
