"""Normalise rows with weight and bias.

{kind: layer norm, style: three passes over a row, dtype: bfloat16, small: [{rows: 5, cols: 104}, {rows: 3, cols: 328}]}
"""
rows, cols = 2048, 4096


def inputs():
    return [torch.randn(rows, cols)]


class Model(nn.Module):
    def __init__(self, cols):
        super().__init__()
        self.norm = nn.LayerNorm(cols, eps=1e-5)

    def forward(self, x):
        return self.norm(x)


def get_init_inputs():
    return [cols]


# --- kernel ---
import torch
import triton
import triton.language as tl


@triton.jit
def layer_norm_fwd_fused(X, Y, W, B, stride, N, eps, BLOCK_SIZE: tl.constexpr):
    row = tl.program_id(0)
    Y += row * stride
    X += row * stride
    _mean = tl.zeros([BLOCK_SIZE], dtype=tl.float32)
    for off in range(0, N, BLOCK_SIZE):
        cols = off + tl.arange(0, BLOCK_SIZE)
        _mean += tl.load(X + cols, mask=cols < N, other=0.).to(tl.float32)
    mean = tl.sum(_mean, axis=0) / N
    _var = tl.zeros([BLOCK_SIZE], dtype=tl.float32)
    for off in range(0, N, BLOCK_SIZE):
        cols = off + tl.arange(0, BLOCK_SIZE)
        x = tl.load(X + cols, mask=cols < N, other=0.).to(tl.float32)
        x = tl.where(cols < N, x - mean, 0.)
        _var += x * x
    rstd = 1 / tl.sqrt(tl.sum(_var, axis=0) / N + eps)
    for off in range(0, N, BLOCK_SIZE):
        cols = off + tl.arange(0, BLOCK_SIZE)
        mask = cols < N
        w = tl.load(W + cols, mask=mask)
        b = tl.load(B + cols, mask=mask)
        x = tl.load(X + cols, mask=mask, other=0.).to(tl.float32)
        tl.store(Y + cols, (x - mean) * rstd * w + b, mask=mask)


def kernel_function(x, norm_weight, norm_bias, norm_eps):
    y = torch.empty_like(x)
    layer_norm_fwd_fused[(x.shape[0],)](x, y, norm_weight, norm_bias, x.stride(0), x.shape[1], norm_eps, BLOCK_SIZE=64)
    return y
