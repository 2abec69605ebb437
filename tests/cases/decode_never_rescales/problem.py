"""One decoding step of grouped-query attention; each row of the batch has filled `lengths` places of its cache."""

import math

import torch
from torch import nn

BATCH, HEADS, KV_HEADS, DIM, MAX_LEN = 16, 32, 8, 128, 4096


class Model(nn.Module):
    def forward(self, q, k_cache, v_cache, lengths):
        B, H, D = q.shape
        T, KV = k_cache.shape[1], k_cache.shape[2]
        q = q.view(B, KV, H // KV, D)
        scores = torch.einsum("bgrd,btgd->bgrt", q.float(), k_cache.float()) / math.sqrt(D)
        mask = torch.arange(T, device=q.device)[None, :] < lengths[:, None]
        scores = scores.masked_fill(~mask[:, None, None, :], float("-inf"))
        p = torch.softmax(scores, dim=-1).to(v_cache.dtype)
        return torch.einsum("bgrt,btgd->bgrd", p, v_cache).reshape(B, H, D)


def get_inputs():
    return [
        torch.randn(BATCH, HEADS, DIM, dtype=torch.bfloat16),
        torch.randn(BATCH, MAX_LEN, KV_HEADS, DIM, dtype=torch.bfloat16),
        torch.randn(BATCH, MAX_LEN, KV_HEADS, DIM, dtype=torch.bfloat16),
        torch.randint(1, MAX_LEN + 1, (BATCH,)),
    ]


def get_init_inputs():
    return []
