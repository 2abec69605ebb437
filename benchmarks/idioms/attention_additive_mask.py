"""Attend with a mask of zeros and minus infinity that is added to the scores.

{kind: attention with a mask, style: mask strides of an expanded tensor, dtype: float32, inputs: {mask: as_given}, small: [{B: 1, H: 2, T: 20, S: 40, D: 32}, {B: 2, H: 1, T: 17, S: 37, D: 16}]}
"""
B, H, T, S, D = 2, 8, 512, 512, 64


def inputs():
    mask = torch.zeros(T, S).masked_fill(torch.rand(T, S) < 0.3, float("-inf"))
    mask[:, 0] = 0
    return [torch.randn(B, H, T, D), torch.randn(B, H, S, D), torch.randn(B, H, S, D), mask.expand(B, 1, T, S)]


def reference(q, k, v, mask):
    scores = q @ k.transpose(-1, -2) / math.sqrt(q.shape[-1]) + mask
    return torch.softmax(scores, -1) @ v


# --- kernel ---
import math

import torch
import triton
import triton.language as tl


@triton.jit
def attention(
    q_ptr, k_ptr, v_ptr, mask_ptr, o_ptr, H, T, S, scale, stride_mb, stride_mt, stride_ms,
    D: tl.constexpr, BT: tl.constexpr, BS: tl.constexpr,
):
    bh = tl.program_id(1)
    t = tl.program_id(0) * BT + tl.arange(0, BT)
    d = tl.arange(0, D)
    q = tl.load(q_ptr + (bh * T + t[:, None]) * D + d[None, :], mask=t[:, None] < T, other=0.0)
    top = tl.full((BT,), float("-inf"), tl.float32)
    total = tl.zeros((BT,), tl.float32)
    acc = tl.zeros((BT, D), tl.float32)
    for start in range(0, S, BS):
        s = start + tl.arange(0, BS)
        k = tl.load(k_ptr + (bh * S + s[None, :]) * D + d[:, None], mask=s[None, :] < S, other=0.0)
        v = tl.load(v_ptr + (bh * S + s[:, None]) * D + d[None, :], mask=s[:, None] < S, other=0.0)
        mask = tl.load(
            mask_ptr + (bh // H) * stride_mb + t[:, None] * stride_mt + s[None, :] * stride_ms,
            mask=(t[:, None] < T) & (s[None, :] < S), other=float("-inf"),
        )
        score = tl.dot(q, k, input_precision="ieee") * scale + mask
        new = tl.maximum(top, tl.max(score, 1))
        safe = tl.where(new == float("-inf"), 0.0, new)
        p = tl.exp(score - safe[:, None])
        keep = tl.exp(top - safe)
        total = total * keep + tl.sum(p, 1)
        acc = acc * keep[:, None] + tl.dot(p, v, input_precision="ieee")
        top = new
    tl.store(o_ptr + (bh * T + t[:, None]) * D + d[None, :], acc / total[:, None], mask=t[:, None] < T)


def kernel_function(q, k, v, mask):
    B, H, T, D = q.shape
    S = k.shape[2]
    o = torch.empty_like(q)
    attention[(triton.cdiv(T, 16), B * H)](
        q, k, v, mask, o, H, T, S, 1 / math.sqrt(D), mask.stride(0), mask.stride(2), mask.stride(3), D=D, BT=16, BS=16
    )
    return o
