"""Attend to the last tokens of a window only.

{kind: sliding-window attention, style: loop over the window's blocks, dtype: float32, small: [{H: 2, T: 40, D: 16, W: 9}, {H: 1, T: 53, D: 16, W: 20}]}
"""
H, T, D, W = 16, 1024, 64, 128


def inputs():
    return [torch.randn(H, T, D), torch.randn(H, T, D), torch.randn(H, T, D)]


def reference(q, k, v):
    at = torch.arange(q.shape[1], device=q.device)
    seen = (at[:, None] >= at[None, :]) & (at[:, None] - at[None, :] < W)
    scores = (q @ k.transpose(1, 2) * q.shape[-1] ** -0.5).masked_fill(~seen, float("-inf"))
    return torch.softmax(scores, -1) @ v


# --- kernel ---
import torch
import triton
import triton.language as tl


@triton.jit
def window_attention(q_ptr, k_ptr, v_ptr, o_ptr, T, W, scale, D: tl.constexpr, BLOCK: tl.constexpr):
    base = tl.program_id(1) * T * D
    first = tl.program_id(0) * BLOCK
    t = first + tl.arange(0, BLOCK)
    d = tl.arange(0, D)
    q = tl.load(q_ptr + base + t[:, None] * D + d[None, :], mask=t[:, None] < T, other=0.0)
    top = tl.full((BLOCK,), -1e30, tl.float32)
    total = tl.zeros((BLOCK,), tl.float32)
    acc = tl.zeros((BLOCK, D), tl.float32)
    low = tl.maximum(first - W + 1, 0) // BLOCK * BLOCK
    for start in range(low, tl.minimum(first + BLOCK, T), BLOCK):
        s = start + tl.arange(0, BLOCK)
        k = tl.load(k_ptr + base + s[None, :] * D + d[:, None], mask=s[None, :] < T, other=0.0)
        v = tl.load(v_ptr + base + s[:, None] * D + d[None, :], mask=s[:, None] < T, other=0.0)
        away = t[:, None] - s[None, :]
        seen = (away >= 0) & (away < W)
        score = tl.where(seen, tl.dot(q, k, input_precision="ieee") * scale, -1e30)
        new = tl.maximum(top, tl.max(score, 1))
        p = tl.where(seen, tl.exp(score - new[:, None]), 0.0)
        keep = tl.exp(top - new)
        total = total * keep + tl.sum(p, 1)
        acc = acc * keep[:, None] + tl.dot(p, v, input_precision="ieee")
        top = new
    tl.store(o_ptr + base + t[:, None] * D + d[None, :], acc / total[:, None], mask=t[:, None] < T)


def kernel_function(q, k, v, W):
    H, T, D = q.shape
    o = torch.empty_like(q)
    window_attention[(triton.cdiv(T, 16), H)](q, k, v, o, T, W, D**-0.5, D=D, BLOCK=16)
    return o
