"""Seed the random numbers that references draw."""

from __future__ import annotations

import torch


def seed_random(seed: int) -> None:
    """Seed the generators of torch's devices that are in use, as `torch.manual_seed` does.

    `torch.manual_seed` keeps a call, with its formatted stack, for each kind of GPU that is not in use: a CPU
    millisecond and some kilobytes each time.

    Args:
        seed: from 0 to 2^63 - 1.
    """
    if torch.get_default_device().type in ("cpu", "meta") and not torch.cuda.is_initialized():
        torch.default_generator.manual_seed(seed)
    else:
        torch.manual_seed(seed)
