"""Convolve every channel causally with four taps and apply SiLU.

{kind: depthwise conv1d, style: taps in a static loop, dtype: float16, small: [{B: 2, C: 5, T: 37}, {B: 1, C: 7, T: 50}]}
"""
B, C, T = 4, 256, 2048


def inputs():
    return [torch.randn(B, C, T), torch.randn(C, 4), torch.randn(C)]


def reference(x, weight, bias):
    wide = torch.promote_types(x.dtype, torch.float32)
    y = F.conv1d(F.pad(x.to(wide), (3, 0)), weight.to(wide)[:, None], bias.to(wide), groups=x.shape[1])
    return F.silu(y).to(x.dtype)


# --- kernel ---
import torch
import triton
import triton.language as tl


@triton.jit
def conv1d(x_ptr, w_ptr, b_ptr, y_ptr, C, T, TAPS: tl.constexpr, BLOCK: tl.constexpr):
    plane = tl.program_id(0)
    channel = plane % C
    t = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    acc = tl.zeros((BLOCK,), tl.float32) + tl.load(b_ptr + channel).to(tl.float32)
    for tap in tl.static_range(TAPS):
        s = t + tap - (TAPS - 1)
        x = tl.load(x_ptr + plane * T + s, mask=(s >= 0) & (s < T), other=0.0).to(tl.float32)
        acc += x * tl.load(w_ptr + channel * TAPS + tap).to(tl.float32)
    tl.store(y_ptr + plane * T + t, acc * tl.sigmoid(acc), mask=t < T)


def kernel_function(x, weight, bias):
    B, C, T = x.shape
    y = torch.empty_like(x)
    conv1d[(B * C, triton.cdiv(T, 32))](x, weight, bias, y, C, T, TAPS=weight.shape[1], BLOCK=32)
    return y
