"""A GEMM with GELU behind it, in the form of KernelBench's level 2."""

import torch
import torch.nn as nn


class Model(nn.Module):
    """
    Simple model that performs a matrix multiplication, divides by a scalar, and applies GELU activation.
    """

    def __init__(self, input_size, output_size, divisor):
        super().__init__()
        self.linear = nn.Linear(input_size, output_size)
        self.divisor = divisor

    def forward(self, x):
        x = self.linear(x)
        x = x / self.divisor
        return torch.nn.functional.gelu(x)


batch_size = 1024
input_size = 2048
output_size = 2048
divisor = 10.0


def get_inputs():
    return [torch.rand(batch_size, input_size)]


def get_init_inputs():
    return [input_size, output_size, divisor]
