import torch
import torch.nn as nn


class Model(nn.Module):
    def __init__(self, n, m):
        super().__init__()
        self.linear = nn.Linear(n, m)

    def forward(self, x):
        return torch.relu(self.linear(x))


batch = 1024
n = 2048
m = 4096


def get_inputs():
    return [torch.rand(batch, n)]


def get_init_inputs():
    return [n, m]
