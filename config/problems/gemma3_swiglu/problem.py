"""Gemma 3's gated feed-forward half: gelu_tanh(x @ gate.T) * (x @ up.T), GELU in fp32."""

import math

import torch
from torch import nn

batch = 4
seq = 128
hidden = 3072
intermediate = 24576


class Model(nn.Module):
    def forward(self, x: torch.Tensor, gate: torch.Tensor, up: torch.Tensor) -> torch.Tensor:
        """x (batch, seq, hidden), gate and up (intermediate, hidden) give (batch, seq, intermediate)."""
        g = torch.matmul(x, gate.T)
        u = torch.matmul(x, up.T)
        wide = g.to(torch.promote_types(g.dtype, torch.float32))
        inner = math.sqrt(2.0 / math.pi) * (wide + 0.044715 * wide * wide * wide)
        activated = 0.5 * wide * (1.0 + torch.tanh(inner))
        return activated.to(u.dtype) * u


def get_inputs():
    scale = hidden**-0.5
    return [
        torch.randn(batch, seq, hidden),
        torch.randn(intermediate, hidden) * scale,
        torch.randn(intermediate, hidden) * scale,
    ]


def get_init_inputs():
    return []
