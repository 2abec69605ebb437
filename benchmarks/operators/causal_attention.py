"""Causal attention of a decoder."""

import torch
import torch.nn as nn
import torch.nn.functional as F


class Model(nn.Module):
    def forward(self, q, k, v):
        return F.scaled_dot_product_attention(q, k, v, is_causal=True)


batch = 2
heads = 16
length = 2048
width = 64


def get_inputs():
    return [torch.randn(batch, heads, length, width, dtype=torch.float16) for _ in range(3)]


def get_init_inputs():
    return []
