"""Normalise channels by running statistics, then apply ReLU.

{kind: batch norm, style: scale and shift folded in the kernel, dtype: float32, small: [{B: 2, C: 5, S: 37}, {B: 3, C: 7, S: 50}]}
"""
B, C, S = 16, 64, 4096


def inputs():
    return [torch.randn(B, C, S)]


class Model(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.bn = nn.BatchNorm1d(channels)

    def forward(self, x):
        return torch.relu(self.bn(x))


def get_init_inputs():
    return [C]


# --- kernel ---
import torch
import triton
import triton.language as tl


@triton.jit
def batch_norm(x_ptr, m_ptr, v_ptr, w_ptr, b_ptr, y_ptr, C, S, eps, BLOCK: tl.constexpr):
    plane = tl.program_id(0)
    channel = plane % C
    scale = tl.load(w_ptr + channel) / tl.sqrt(tl.load(v_ptr + channel) + eps)
    shift = tl.load(b_ptr + channel) - tl.load(m_ptr + channel) * scale
    s = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    x = tl.load(x_ptr + plane * S + s, mask=s < S, other=0.0)
    y = tl.maximum(x * scale + shift, 0.0)
    tl.store(y_ptr + plane * S + s, y, mask=s < S)


def kernel_function(x, bn_running_mean, bn_running_var, bn_weight, bn_bias, bn_eps):
    B, C, S = x.shape
    y = torch.empty_like(x)
    grid = (B * C, triton.cdiv(S, 32))
    batch_norm[grid](x, bn_running_mean, bn_running_var, bn_weight, bn_bias, y, C, S, bn_eps, BLOCK=32)
    return y
