"""Data races between the programs of a launch, which the interpreter runs one after the other.

On a GPU programs run in any order and at the same time.  An element that one program stores and another one loads, in
the same launch and without an atomic operation or a volatile load anywhere in it, has no defined value there; in the
interpreter it has one, and a kernel that adds up without atomics, or counts on programs that come before, is right.

A launch is watched the second time that it runs: the first time shows which memory it stores to, and only that is
watched.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

NOBODY = -1
SEVERAL = -2


class DataRace(Exception):
    """A program loads what another one stores in the same launch, and nothing orders them."""


@dataclass
class Seen:
    """What a launch was seen to do the first time."""

    stored: set[tuple[int, int]] = field(default_factory=set)
    """First address and end of every tensor that it stores to."""
    synchronised: bool = False
    """It has atomic operations or volatile loads: its programs may wait for each other."""


class Races:
    """Watches the accesses of one launch."""

    def __init__(self, seen: Seen) -> None:
        """Watch what was stored to; nothing when its programs may wait for each other."""
        watched = [] if seen.synchronised else sorted(seen.stored)
        self._readers = [(start, end, np.full(end - start, NOBODY, dtype=np.int32)) for start, end in watched]
        self._writers = [np.full(end - start, NOBODY, dtype=np.int32) for start, end in watched]

    def load(self, program: int, addresses: Any) -> None:
        """A program loads the elements that begin at these addresses.

        Raises:
            DataRace: another one stores some of them.
        """
        for (start, end, readers), writers in zip(self._readers, self._writers, strict=True):
            at = _inside(addresses, start, end)
            self._clash(program, writers[at], "loads", "stored by")
            before = readers[at]
            readers[at] = np.where((before == NOBODY) | (before == program), program, SEVERAL)

    def store(self, program: int, addresses: Any, changed: Any = True) -> None:
        """A program stores to the elements that begin at these addresses.

        Args:
            program: its number.
            addresses: one a stored element.
            changed: which of them get another value than they have: programs may all store the same.

        Raises:
            DataRace: another one has loaded some of those that change.
        """
        changed = np.broadcast_to(changed, addresses.shape)
        for (start, end, readers), writers in zip(self._readers, self._writers, strict=True):
            self._clash(program, readers[_inside(addresses[changed], start, end)], "stores", "loaded by")
            writers[_inside(addresses, start, end)] = program

    def _clash(self, program: int, others: Any, does: str, done: str) -> None:
        foreign = others[(others != NOBODY) & (others != program)]
        if foreign.size:
            whom = "other programs" if foreign[0] == SEVERAL else f"program {foreign[0]}"
            raise DataRace(
                f"program {program} {does} {foreign.size} elements {done} {whom} in the same launch, without an atomic "
                "operation: on a GPU programs run at the same time and in any order"
            )


def _inside(addresses: Any, start: int, end: int) -> Any:
    """Offsets of those addresses that lie in a tensor."""
    return (addresses[(addresses >= start) & (addresses < end)] - np.uint64(start)).astype(np.int64)
