import torch
from torch import nn

M = 512
N = 512


class Model(nn.Module):
    def forward(self, x):
        return {"y": x + x, "rest": [x > 0, x.argmax(-1), x.shape[1], None]}


def get_inputs():
    return [torch.randn(M, N)]


def get_init_inputs():
    return []
