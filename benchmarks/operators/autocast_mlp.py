"""Two layers of a network that is trained in float32 and runs under autocast."""

import torch
import torch.nn as nn
import torch.nn.functional as F


class Model(nn.Module):
    def __init__(self, width, hidden):
        super().__init__()
        self.up = nn.Linear(width, hidden)
        self.down = nn.Linear(hidden, width)

    def forward(self, x):
        with torch.autocast("cuda", dtype=torch.bfloat16):
            return self.down(F.gelu(self.up(x)))


tokens = 2048
width = 1024
hidden = 4096


def get_inputs():
    return [torch.randn(tokens, width)]


def get_init_inputs():
    return [width, hidden]
