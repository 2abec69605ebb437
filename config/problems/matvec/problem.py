"""Matrix-vector product, tall in the reduced dimension (KernelBench level 1)."""

import torch
from torch import nn

M = 2048
K = 1048576


class Model(nn.Module):
    def forward(self, A: torch.Tensor, B: torch.Tensor) -> torch.Tensor:
        """A (M, K) times B (K, 1) gives (M, 1)."""
        return torch.matmul(A, B)


def get_inputs():
    return [torch.randn(M, K), torch.randn(K, 1)]


def get_init_inputs():
    return []
