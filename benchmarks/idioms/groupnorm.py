"""Normalise groups of channels, then scale and shift channels.

{kind: group norm, style: loop over the group, dtype: float32, small: [{B: 2, C: 6, S: 37, G: 3}, {B: 3, C: 8, S: 50, G: 2}]}
"""
B, C, S, G = 8, 64, 4096, 8


def inputs():
    return [torch.randn(B, C, S)]


class Model(nn.Module):
    def __init__(self, groups, channels):
        super().__init__()
        self.gn = nn.GroupNorm(groups, channels)

    def forward(self, x):
        return self.gn(x)


def get_init_inputs():
    return [G, C]


# --- kernel ---
import torch
import triton
import triton.language as tl


@triton.jit
def group_norm(x_ptr, w_ptr, b_ptr, y_ptr, C, S, G, eps, BLOCK: tl.constexpr):
    pid = tl.program_id(0)
    batch, group = pid // G, pid % G
    width = C // G
    size = width * S
    base = (batch * C + group * width) * S
    total = tl.zeros((BLOCK,), tl.float32)
    square = tl.zeros((BLOCK,), tl.float32)
    shift = tl.load(x_ptr + base)
    for start in range(0, size, BLOCK):
        at = start + tl.arange(0, BLOCK)
        x = tl.load(x_ptr + base + at, mask=at < size, other=0.0) - shift
        x = tl.where(at < size, x, 0.0)
        total += x
        square += x * x
    mean = tl.sum(total) / size
    var = tl.sum(square) / size - mean * mean
    rstd = 1.0 / tl.sqrt(tl.maximum(var, 0.0) + eps)
    for start in range(0, size, BLOCK):
        at = start + tl.arange(0, BLOCK)
        x = tl.load(x_ptr + base + at, mask=at < size, other=0.0)
        channel = group * width + at // S
        w = tl.load(w_ptr + channel, mask=at < size, other=0.0)
        b = tl.load(b_ptr + channel, mask=at < size, other=0.0)
        tl.store(y_ptr + base + at, (x - shift - mean) * rstd * w + b, mask=at < size)


def kernel_function(x, weight, bias, eps, G):
    B, C, S = x.shape
    y = torch.empty_like(x)
    group_norm[(B * G,)](x, weight, bias, y, C, S, G, eps, BLOCK=32 if S < 1024 else 1024)
    return y
