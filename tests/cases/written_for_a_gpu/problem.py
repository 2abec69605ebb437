import torch
from torch import nn

device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
M = 1024
N = 1024


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.norm = nn.BatchNorm1d(N).cuda()
        self.register_buffer("steps", torch.tensor([0.5, 2.0], device="cuda"))
        self.rate = [rate.item() for rate in torch.linspace(0, 1, 3)][1]

    def forward(self, x):
        print("forward", x.shape)
        assert x.is_cuda
        return self.norm(x.cuda()) * self.steps[1] + torch.tensor(self.rate, device=x.device)


def get_inputs():
    return torch.randn(M, N, device="cuda")


def get_init_inputs():
    return None
