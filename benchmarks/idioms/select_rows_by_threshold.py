"""Return where each sorted row first reaches a value.

{kind: binary search, style: fixed number of halvings, dtype: float32, inputs: {edges: as_given, x: as_given}, small: [{n: 50, size: 20}, {n: 77, size: 37}]}
"""
n, size = 1 << 20, 4096


def inputs():
    edges = torch.randn(size).sort().values
    hits = edges[torch.randint(0, size, (n,))]
    return [torch.where(torch.rand(n) < 0.5, hits, torch.randn(n)), edges]


def reference(x, edges):
    return torch.searchsorted(edges, x)


# --- kernel ---
import torch
import triton
import triton.language as tl


@triton.jit
def search(x_ptr, edges_ptr, out_ptr, n, size, STEPS: tl.constexpr, BLOCK: tl.constexpr):
    at = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    x = tl.load(x_ptr + at, mask=at < n, other=0.0)
    low = tl.zeros((BLOCK,), tl.int32)
    high = tl.zeros((BLOCK,), tl.int32) + size
    for _ in range(STEPS):
        middle = (low + high) // 2
        edge = tl.load(edges_ptr + middle, mask=low < high, other=0.0)
        right = (low < high) & (edge < x)
        high = tl.where((low < high) & (edge >= x), middle, high)
        low = tl.where(right, middle + 1, low)
    tl.store(out_ptr + at, low.to(tl.int64), mask=at < n)


def kernel_function(x, edges):
    out = torch.empty(x.shape, dtype=torch.int64, device=x.device)
    steps = edges.numel().bit_length()
    search[(triton.cdiv(x.numel(), 64),)](x, edges, out, x.numel(), edges.numel(), STEPS=steps, BLOCK=64)
    return out
