"""LayerNorm over the last dimension, in the form of KernelBench's level 1; its gradient is searched."""

import torch
import torch.nn as nn


class Model(nn.Module):
    """
    Simple model that performs Layer Normalization.
    """

    def __init__(self, normalized_shape: tuple):
        super().__init__()
        self.ln = nn.LayerNorm(normalized_shape=normalized_shape)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.ln(x)


rows = 4096
features = 2048


def get_inputs():
    return [torch.randn(rows, features)]


def get_init_inputs():
    return [(features,)]
