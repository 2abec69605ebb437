import torch
from torch import nn

N = 1048576


class Model(nn.Module):
    def forward(self, x):
        return x.var(), x.reshape(8, -1).std(dim=1, correction=0)


def get_inputs():
    return [torch.randn(N)]


def get_init_inputs():
    return []
