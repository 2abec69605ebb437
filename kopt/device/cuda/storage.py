"""See the storage of a tensor as bytes, whatever the tensor's layout and dtype; give freed memory back."""

from __future__ import annotations

import torch

SPARE_BYTES = 4 << 30
"""Freed memory that torch may keep in a process of the judge: the other processes need the rest."""


def flat_bytes(tensor: torch.Tensor) -> torch.Tensor:
    """View the whole storage of a tensor as bytes."""
    return torch.empty(0, dtype=torch.uint8, device=tensor.device).set_(tensor.untyped_storage())


def give_back_spare() -> None:
    """Give freed memory beyond `SPARE_BYTES` back to the device, which waits for its work."""
    if torch.cuda.memory_reserved() - torch.cuda.memory_allocated() > SPARE_BYTES:
        torch.cuda.empty_cache()
