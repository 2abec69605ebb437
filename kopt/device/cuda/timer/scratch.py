"""Give Triton the memory that it asks for at launches, with nothing of an earlier call in it."""

from __future__ import annotations

import torch


class Scratch:
    """Allocator of the memory that Triton asks for at launches, for descriptors made on the device (`set_allocator`).

    The memory that a call of a subject asked for is allocated again, full of NaN, before the subject's next call.
    """

    def __init__(self, device: str = "cuda") -> None:
        self._device = device
        self._asked: dict[object, list[int]] = {}
        self._subject: object = None
        self._ready: dict[int, list[torch.Tensor]] = {}

    def begin(self, subject: object) -> None:
        """Prepare the memory for a call of a subject."""
        self._ready = {}
        for size in self._asked.get(subject, ()):
            made = torch.full((size,), -1, dtype=torch.int8, device=self._device)
            self._ready.setdefault(size, []).append(made)
        self._subject, self._asked[subject] = subject, []

    def __call__(self, size: int, alignment: int, stream: int | None) -> torch.Tensor:
        """Return memory for one launch; torch aligns it more strictly than Triton asks for."""
        self._asked.setdefault(self._subject, []).append(size)
        ready = self._ready.get(size)
        return ready.pop() if ready else torch.empty(size, dtype=torch.int8, device=self._device)
