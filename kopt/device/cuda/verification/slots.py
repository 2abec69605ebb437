"""Assign to contestants, which run side by side, the slots in which they get draws and hand results over."""

from __future__ import annotations

import pickle
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from kopt.device.cuda.sharing.sheets import Assignment, Sheet
from kopt.sandbox.service import CHECK_S, PREPARE_S, ServiceProcess


class Slot(NamedTuple):
    """The place of one contestant: its number, and the draws with outputs of their own."""

    number: int
    sheets: Sequence[Sheet]


@dataclass
class Slots:
    """Assign the referee's slots to contestants.

    The referee makes the slots when the first contestants have their CUDA contexts and ask: only then it is known how
    much memory is left.
    """

    referee: ServiceProcess
    most: int
    """Largest number of slots."""
    _free: list[Slot] = field(default_factory=list)
    _held: dict[int, Slot] = field(default_factory=dict)
    _memory_share: float = 0.0

    @property
    def count(self) -> int:
        """Number of slots that the referee has made."""
        return len(self._free) + len(self._held)

    def message_for(self, contestant: int) -> bytes | None:
        """Assign a slot to a contestant and return its `Assignment`, pickled; None when no slot is free."""
        if not self.count:
            made = self.referee.call("slots", self.most, seconds=PREPARE_S)
            self._free = [Slot(number, sheets) for number, sheets in enumerate(made)]
            self._memory_share = self.referee.call("memory_share", self.count, seconds=CHECK_S)
        if not self._free:
            return None
        self._held[contestant] = self._free.pop(0)
        return pickle.dumps(Assignment(tuple(self._held[contestant].sheets), self._memory_share))

    def slot_of(self, contestant: int) -> Slot | None:
        """Return a contestant's slot; None when the contestant has no slot."""
        return self._held.get(contestant)

    def release(self, contestant: int) -> None:
        """Take back the slot, if any, of a contestant that has ended and whose outputs have been compared."""
        if contestant in self._held:
            slot = self._held.pop(contestant)
            self.referee.call("fill_with_nan", slot.number, seconds=CHECK_S)
            self._free.append(slot)
