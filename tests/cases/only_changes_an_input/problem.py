import torch
from torch import nn

M = 512
N = 512


class Model(nn.Module):
    def forward(self, cache, x):
        cache[1 : x.shape[0] + 1].copy_(x)


def get_inputs():
    return [torch.randn(2 * M, N), torch.randn(M, N)]


def get_init_inputs():
    return []
