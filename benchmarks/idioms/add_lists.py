"""Add two lists of tensors, tensor by tensor.

{kind: list of tensors, style: tuples as kernel arguments, dtype: float32, small: [{n: 300}, {n: 1027}]}
"""
n = 1 << 20


def inputs():
    return [torch.randn(n), torch.randn(n // 2), torch.randn(n), torch.randn(n // 2)]


def reference(a, b, c, d):
    return [a + c, b + d]


# --- kernel ---
import torch
import triton
import triton.language as tl


@triton.jit
def add_all(lefts, rights, outs, sizes, BLOCK: tl.constexpr):
    at = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    for i in tl.static_range(len(lefts)):
        mask = at < sizes[i]
        tl.store(outs[i] + at, tl.load(lefts[i] + at, mask=mask) + tl.load(rights[i] + at, mask=mask), mask=mask)


def kernel_function(a, b, c, d):
    outs = [torch.empty_like(a), torch.empty_like(b)]
    sizes = (a.numel(), b.numel())
    add_all[(triton.cdiv(max(sizes), 256),)]((a, b), (c, d), tuple(outs), sizes, BLOCK=256)
    return outs
