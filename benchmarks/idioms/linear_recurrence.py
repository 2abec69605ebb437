"""Step a gated recurrence over time: h = a h + b, all states returned, and the last one.

{kind: recurrence, style: sequential loop over time, dtype: float32, inputs: {a: {range: [0, 1]}}, small: [{B: 2, T: 9, D: 40}, {B: 3, T: 7, D: 71}]}
"""
B, T, D = 8, 128, 2048


def inputs():
    return [torch.rand(B, T, D), torch.randn(B, T, D), torch.randn(B, D)]


def reference(a, b, h):
    states = []
    for t in range(a.shape[1]):
        h = a[:, t] * h + b[:, t]
        states.append(h)
    return torch.stack(states, 1), h


# --- kernel ---
import torch
import triton
import triton.language as tl


@triton.jit
def recurrence(a_ptr, b_ptr, h0_ptr, out_ptr, last_ptr, T, D, BLOCK: tl.constexpr):
    batch = tl.program_id(1)
    d = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    mask = d < D
    h = tl.load(h0_ptr + batch * D + d, mask=mask)
    at = batch * T * D + d
    for _ in range(T):
        h = tl.load(a_ptr + at, mask=mask) * h + tl.load(b_ptr + at, mask=mask)
        tl.store(out_ptr + at, h, mask=mask)
        at += D
    tl.store(last_ptr + batch * D + d, h, mask=mask)


def kernel_function(a, b, h):
    B, T, D = a.shape
    out, last = torch.empty_like(a), torch.empty_like(h)
    recurrence[(triton.cdiv(D, 32), B)](a, b, h, out, last, T, D, BLOCK=32)
    return out, last
