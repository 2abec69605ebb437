"""Attend from one query to a cache in pages, found by a table.

{kind: paged attention, style: block table and context lengths, dtype: float32, inputs: {table: as_given, lengths: as_given}, small: [{B: 3, P: 3, D: 16, S: 8}, {B: 2, P: 5, D: 32, S: 16}]}
"""
B, P, D, S = 32, 32, 64, 16


def inputs():
    table = torch.randperm(B * P).view(B, P).to(torch.int32)
    lengths = (torch.arange(B) * 5 + P * S - 3) % (P * S) + 1
    return [torch.randn(B, D), torch.randn(B * P, S, D), torch.randn(B * P, S, D), table, lengths.to(torch.int32)]


def reference(q, k_pages, v_pages, table, lengths):
    k = k_pages[table.long()].flatten(1, 2)
    v = v_pages[table.long()].flatten(1, 2)
    scores = (k @ q[:, :, None]).squeeze(-1) * q.shape[-1] ** -0.5
    dead = torch.arange(k.shape[1], device=q.device)[None, :] >= lengths[:, None]
    p = torch.softmax(scores.masked_fill(dead, float("-inf")), -1)
    return (p[:, None, :] @ v).squeeze(1)


# --- kernel ---
import torch
import triton
import triton.language as tl


@triton.jit
def paged(q_ptr, k_ptr, v_ptr, table_ptr, lengths_ptr, o_ptr, P, scale, D: tl.constexpr, S: tl.constexpr):
    b = tl.program_id(0)
    d, slot = tl.arange(0, D), tl.arange(0, S)
    length = tl.load(lengths_ptr + b)
    q = tl.load(q_ptr + b * D + d)
    top = -float("inf")
    total = 0.0
    acc = tl.zeros((D,), tl.float32)
    for page in range(0, tl.cdiv(length, S)):
        where = tl.load(table_ptr + b * P + page).to(tl.int64)
        at = where * S * D + slot[:, None] * D + d[None, :]
        live = page * S + slot < length
        k = tl.load(k_ptr + at, mask=live[:, None], other=0.0)
        score = tl.where(live, tl.sum(k * q[None, :], axis=1) * scale, -float("inf"))
        new = tl.maximum(top, tl.max(score, axis=0))
        p = tl.exp(score - new)
        keep = tl.exp(top - new)
        v = tl.load(v_ptr + at, mask=live[:, None], other=0.0)
        acc = acc * keep + tl.sum(p[:, None] * v, axis=0)
        total = total * keep + tl.sum(p, axis=0)
        top = new
    tl.store(o_ptr + b * D + d, acc / total)


def kernel_function(q, k_pages, v_pages, table, lengths):
    B, D = q.shape
    o = torch.empty_like(q)
    paged[(B,)](q, k_pages, v_pages, table, lengths, o, table.shape[1], D**-0.5, D=D, S=k_pages.shape[1])
    return o
