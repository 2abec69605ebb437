"""A linear layer with int4 weights, two of them in a byte, and a scale for each group of 128 inputs."""

import torch


def unpack(packed):
    """Return the weights (out, in) of packed bytes (out, in / 2), from -8 to 7; the low half is the first."""
    low = (packed & 15).to(torch.int8) - 8
    high = (packed >> 4).to(torch.int8) - 8
    return torch.stack([low, high], dim=-1).reshape(packed.shape[0], -1)


def w4_linear(x, packed, scales, group=128):
    weight = unpack(packed).to(x.dtype) * scales.repeat_interleave(group, dim=1)
    return x @ weight.t()
