"""Attend causally.

{kind: causal attention, style: flash attention in two stages of blocks, dtype: float16, small: [{B: 1, H: 2, T: 40, D: 32}, {B: 2, H: 1, T: 53, D: 16}]}
"""
B, H, T, D = 2, 8, 1024, 64


def inputs():
    return [torch.randn(B, H, T, D), torch.randn(B, H, T, D), torch.randn(B, H, T, D)]


def reference(q, k, v):
    return F.scaled_dot_product_attention(q, k, v, is_causal=True)


# --- kernel ---
import math

import torch
import triton
import triton.language as tl


@triton.jit
def inner(acc, l_i, m_i, q, k_ptr, v_ptr, low, high, offs_m, offs_d, T, scale, STAGE: tl.constexpr, BN: tl.constexpr, D: tl.constexpr):
    for start in range(low, high, BN):
        offs_n = start + tl.arange(0, BN)
        k = tl.load(k_ptr + offs_n[None, :] * D + offs_d[:, None], mask=offs_n[None, :] < T, other=0.0)
        qk = tl.dot(q, k) * scale
        if STAGE == 2:
            qk = tl.where((offs_m[:, None] >= offs_n[None, :]) & (offs_n[None, :] < T), qk, float("-inf"))
        m_ij = tl.maximum(m_i, tl.max(qk, 1))
        p = tl.math.exp2(qk - m_ij[:, None])
        alpha = tl.math.exp2(m_i - m_ij)
        l_i = l_i * alpha + tl.sum(p, 1)
        v = tl.load(v_ptr + offs_n[:, None] * D + offs_d[None, :], mask=offs_n[:, None] < T, other=0.0)
        acc = acc * alpha[:, None]
        acc = tl.dot(p.to(v.dtype), v, acc)
        m_i = m_ij
    return acc, l_i, m_i


@triton.jit
def attention(Q, K, V, O, T, scale, D: tl.constexpr, BM: tl.constexpr, BN: tl.constexpr):
    start_m = tl.program_id(0) * BM
    base = tl.program_id(1).to(tl.int64) * T * D
    offs_m = start_m + tl.arange(0, BM)
    offs_d = tl.arange(0, D)
    q = tl.load(Q + base + offs_m[:, None] * D + offs_d[None, :], mask=offs_m[:, None] < T, other=0.0)
    m_i = tl.zeros([BM], dtype=tl.float32) - float("inf")
    l_i = tl.zeros([BM], dtype=tl.float32)
    acc = tl.zeros([BM, D], dtype=tl.float32)
    acc, l_i, m_i = inner(acc, l_i, m_i, q, K + base, V + base, 0, start_m, offs_m, offs_d, T, scale, 1, BN, D)
    high = min(start_m + BM, T)
    acc, l_i, m_i = inner(acc, l_i, m_i, q, K + base, V + base, start_m, high, offs_m, offs_d, T, scale, 2, BN, D)
    acc = acc / l_i[:, None]
    tl.store(O + base + offs_m[:, None] * D + offs_d[None, :], acc.to(O.type.element_ty), mask=offs_m[:, None] < T)


def kernel_function(q, k, v):
    B, H, T, D = q.shape
    o = torch.empty_like(q)
    scale = 1.4426950408889634 / math.sqrt(D)
    attention[(triton.cdiv(T, 16), B * H)](q, k, v, o, T, scale, D=D, BM=16, BN=16)
    return o
