import torch
from torch import nn

M = 1024
N = 1024


class Model(nn.Module):
    def forward(self, x, residual):
        total = x + residual
        centred = total - total.mean(-1, keepdim=True)
        return centred / total.std(-1, keepdim=True).clamp_min(1e-12)


def get_inputs():
    return [torch.randn(M, N), torch.randn(M, N)]


def get_init_inputs():
    return []
