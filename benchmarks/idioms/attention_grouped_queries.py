"""Attend with several query heads for each head of keys, in the layout batch, time, head, width.

{kind: grouped-query attention, style: query heads of a group in one tile, dtype: bfloat16, small: [{B: 1, H: 4, G: 2, T: 20, D: 16}, {B: 2, H: 6, G: 3, T: 21, D: 16}]}
"""
B, H, G, T, D = 1, 16, 4, 512, 64


def inputs():
    return [torch.randn(B, T, H, D), torch.randn(B, T, G, D), torch.randn(B, T, G, D)]


def reference(q, k, v):
    share = q.shape[2] // k.shape[2]
    k, v = (x.repeat_interleave(share, 2).transpose(1, 2) for x in (k, v))
    p = torch.softmax(q.transpose(1, 2) @ k.transpose(-1, -2) * q.shape[-1] ** -0.5, -1)
    return (p @ v).transpose(1, 2).contiguous()


# --- kernel ---
import torch
import triton
import triton.language as tl


@triton.jit
def gqa(q_ptr, k_ptr, v_ptr, o_ptr, T, H, G, scale, D: tl.constexpr, BT: tl.constexpr, BS: tl.constexpr):
    b, h = tl.program_id(1) // H, tl.program_id(1) % H
    g = h // (H // G)
    t = tl.program_id(0) * BT + tl.arange(0, BT)
    d = tl.arange(0, D)
    rows = (b * T + t)[:, None] * H * D + h * D + d[None, :]
    q = tl.load(q_ptr + rows, mask=t[:, None] < T, other=0.0)
    top = tl.full((BT,), float("-inf"), tl.float32)
    total = tl.full((BT,), 0.0, tl.float32)
    acc = tl.zeros((BT, D), tl.float32)
    for start in tl.range(0, T, BS):
        s = start + tl.arange(0, BS)
        at = (b * T + s)[:, None] * G * D + g * D + d[None, :]
        k = tl.load(k_ptr + at, mask=s[:, None] < T, other=0.0)
        v = tl.load(v_ptr + at, mask=s[:, None] < T, other=0.0)
        score = tl.where(s[None, :] < T, tl.dot(q, tl.trans(k)) * scale, float("-inf"))
        new = tl.maximum(top, tl.max(score, 1))
        p = tl.exp(score - new[:, None])
        keep = tl.exp(top - new)
        total = total * keep + tl.sum(p, 1)
        acc = tl.dot(p.to(v.dtype), v, acc * keep[:, None])
        top = new
    tl.store(o_ptr + rows, (acc / total[:, None]).to(o_ptr.dtype.element_ty), mask=t[:, None] < T)


def kernel_function(q, k, v):
    B, T, H, D = q.shape
    o = torch.empty_like(q)
    gqa[(triton.cdiv(T, 16), B * H)](q, k, v, o, T, H, k.shape[2], D**-0.5, D=D, BT=16, BS=16)
    return o
