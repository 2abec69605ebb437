import torch
from torch import nn

M = 256
N = 512


class Model(nn.Module):
    def forward(self, pair):
        return pair["x"] * torch.sigmoid(pair["gate"])


def get_inputs():
    both = torch.randn(M, 2 * N)
    return [{"x": both[:, :N], "gate": both[:, N:]}]


def get_init_inputs():
    return []
