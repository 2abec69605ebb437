"""Return mean, variance and largest magnitude of every channel, by name.

{kind: moments, style: a dictionary of outputs, dtype: float32, small: [{B: 3, C: 5, S: 37}, {B: 2, C: 7, S: 130}]}
"""
B, C, S = 16, 64, 2048


def inputs():
    return [torch.randn(B, C, S)]


def reference(x):
    return {"mean": x.mean((0, 2)), "var": x.var((0, 2), unbiased=False), "peak": x.abs().amax((0, 2))}


# --- kernel ---
import torch
import triton
import triton.language as tl


@triton.jit
def moments(x_ptr, mean_ptr, var_ptr, peak_ptr, B, C, S, BLOCK: tl.constexpr):
    c = tl.program_id(0)
    total = tl.zeros((BLOCK,), tl.float32)
    peak = tl.zeros((BLOCK,), tl.float32)
    for b in range(B):
        for start in range(0, S, BLOCK):
            s = start + tl.arange(0, BLOCK)
            x = tl.load(x_ptr + (b * C + c) * S + s, mask=s < S, other=0.0)
            total += x
            peak = tl.maximum(peak, tl.abs(x))
    mean = tl.sum(total) / (B * S)
    square = tl.zeros((BLOCK,), tl.float32)
    for b in range(B):
        for start in range(0, S, BLOCK):
            s = start + tl.arange(0, BLOCK)
            x = tl.load(x_ptr + (b * C + c) * S + s, mask=s < S, other=0.0)
            centred = tl.where(s < S, x - mean, 0.0)
            square += centred * centred
    tl.store(mean_ptr + c, mean)
    tl.store(var_ptr + c, tl.sum(square) / (B * S))
    tl.store(peak_ptr + c, tl.max(peak))


def kernel_function(x):
    B, C, S = x.shape
    out = {name: torch.empty(C, dtype=x.dtype, device=x.device) for name in ("mean", "var", "peak")}
    moments[(C,)](x, out["mean"], out["var"], out["peak"], B, C, S, BLOCK=64)
    return out
