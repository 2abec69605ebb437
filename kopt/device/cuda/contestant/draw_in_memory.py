"""Read draws from the referee's memory, and hand results over to it; small ones are copied, all at once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch

from kopt.device.cuda.sharing import ipc
from kopt.device.cuda.sharing.ipc import Shared
from kopt.device.cuda.sharing.sheets import Sheet

STAGED_BYTES = 1 << 20
"""Largest size of a draw of which a contestant keeps copies, bytes."""


@dataclass
class DrawInMemory:
    """A draw whose arguments and results lie in the referee's memory, and, where they are small, in copies too.

    Opening the referee's memory, and waiting for the device, take long while neighbours keep the device busy.
    """

    sheet: Sheet
    copies: dict[str, torch.Tensor] | None = None
    """Copies of the arguments, made before the first draw is run; None where they are large."""
    results: list[tuple[Shared, torch.Tensor]] = field(default_factory=list)
    """Results that have not been copied to the referee's memory."""

    @contextmanager
    def arguments(self) -> Iterator[dict[str, torch.Tensor]]:
        """Read the arguments, by name, inside the block of code."""
        if self.copies is not None:
            yield self.copies
            return
        with ipc.all_opened(self.sheet.arguments) as opened:
            yield opened

    def keep(self, tensors: Sequence[torch.Tensor]) -> None:
        """Copy the tensors of a result; a result with other tensors breaks the contract, and is not copied."""
        if len(tensors) != len(self.sheet.outputs):
            return
        pairs = [
            (shared, tensor)
            for shared, tensor in zip(self.sheet.outputs, tensors, strict=True)
            if tuple(tensor.shape) == shared.shape and tensor.is_cuda
        ]
        if self.copies is None:
            ipc.copy_into(pairs)
        else:
            self.results = [(shared, tensor.clone()) for shared, tensor in pairs]


def in_memory(sheets: Sequence[Sheet]) -> list[DrawInMemory]:
    """Copy the arguments of the small draws, all at once."""
    small = {at: sheet.arguments for at, sheet in enumerate(sheets) if _is_small(sheet)}
    copies = dict(zip(small, ipc.copies_of(list(small.values())), strict=True))
    return [DrawInMemory(sheet, copies.get(at)) for at, sheet in enumerate(sheets)]


def _is_small(sheet: Sheet) -> bool:
    return sum(shared.bytes for shared in (*sheet.arguments.values(), *sheet.outputs)) <= STAGED_BYTES


def hand_over(draws: Sequence[DrawInMemory]) -> None:
    """Copy the results that wait to the referee's memory, all at once.

    Raises:
        DeviceError: the memory cannot be opened, or a kernel has broken the device.
    """
    ipc.copy_into([result for draw in draws for result in draw.results])
