"""Compute checksums of tensors that tell whether their memory has changed."""

from __future__ import annotations

import secrets
from collections.abc import Iterable

import torch

from kopt.device.cuda.storage import flat_bytes

CHECKED_WORDS = 1 << 23
"""Words of a checksum that are multiplied at a time: enough for the device to outlast the host's work, 64 MiB."""


class Checksums:
    """Checksums that a kernel cannot keep equal: their odd factors are random, and known to this process alone."""

    def __init__(self) -> None:
        self._step = secrets.randbits(62) * 2 + 1
        self._factors: torch.Tensor | None = None

    def __call__(self, tensors: Iterable[torch.Tensor]) -> tuple[int, ...]:
        """Return the checksum of the storage of each tensor, with one wait for the device."""
        sums = [self._of(flat_bytes(tensor)) for tensor in tensors]
        return tuple(torch.stack(sums).tolist()) if sums else ()

    def _of(self, flat: torch.Tensor) -> torch.Tensor:
        """Sum 64-bit words, each times a factor, on the device.

        The upper half of a word is added to it first: changes of the uppermost bit alone, as of the signs of float64
        numbers, would cancel in pairs, whatever the odd factors.  Different words stay different.
        """
        if self._factors is None:
            generator = torch.Generator(flat.device).manual_seed(secrets.randbits(63))
            self._factors = torch.empty(CHECKED_WORDS, dtype=torch.int64, device=flat.device)
            self._factors.random_(-(2**63), None, generator=generator).bitwise_or_(1)
        words = flat[: flat.numel() // 8 * 8].view(torch.int64)
        rest = flat[words.numel() * 8 :].long()
        total = (rest * self._factors[: len(rest)]).sum()
        for some in words.split(CHECKED_WORDS):
            total = total * self._step + ((some >> 32).add_(some).mul_(self._factors[: len(some)])).sum()
        return total
