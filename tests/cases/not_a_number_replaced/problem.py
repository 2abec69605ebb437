import torch
from torch import nn

M = 4096
N = 1024


class Model(nn.Module):
    def forward(self, x):
        return torch.nan_to_num(x, nan=0.0, posinf=1e4, neginf=-1e4)


def get_inputs():
    return [torch.randn(M, N)]


def get_init_inputs():
    return []
