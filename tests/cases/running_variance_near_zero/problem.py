import torch
from torch import nn

M = 1024
N = 1024


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.register_buffer("variance", torch.ones(N))

    def forward(self, x):
        return x * torch.rsqrt(self.variance + 1e-5)


def get_inputs():
    return [torch.randn(M, N)]


def get_init_inputs():
    return []
