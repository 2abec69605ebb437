import torch
from torch import nn

M = 256
N = 512


class Model(nn.Module):
    def forward(self, cache, slots, x):
        return cache.index_copy_(0, slots, x)


def get_inputs():
    return [torch.randn(8 * M, N), torch.randperm(8 * M)[:M], torch.randn(M, N)]


def get_init_inputs():
    return []
