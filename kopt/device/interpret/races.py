"""Find data races between the programs of a launch, which the interpreter runs one after the other.

On a GPU programs run in any order and at the same time.  An element that one program stores and another one loads, in
the same launch and without an atomic operation or a volatile load anywhere in it, has no defined value on a GPU.  In
the interpreter it has one, so a kernel that accumulates without atomics, or relies on earlier programs, would pass.

A launch is watched when it runs for the second time: the first time shows which tensors it stores to, and only those
are watched.  `Any` in signatures: arrays of addresses, of whatever shape and integer type the interpreter gives them.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

NOBODY, SEVERAL = -1, -2
"""Stand for a program's number where no program, or more than one, made an access."""


class DataRace(Exception):
    """A program loads an element that another program of the launch stores, and nothing orders the two."""


@dataclass
class ObservedLaunch:
    """Observations of a launch's first run."""

    stored: set[tuple[int, int]] = field(default_factory=set)
    """First address and end of every tensor that it stores to."""
    synchronised: bool = False
    """Whether it has atomic operations or volatile loads, so that its programs may wait for each other."""


class Races:
    """Watch the accesses of one launch: by element, which program has loaded it and which has stored it."""

    def __init__(self, observed: ObservedLaunch) -> None:
        """Watch the tensors that the launch stores to; none of them when its programs may wait for each other."""
        watched = [] if observed.synchronised else sorted(observed.stored)
        self._readers = [(start, end, np.full(end - start, NOBODY, dtype=np.int32)) for start, end in watched]
        self._writers = [np.full(end - start, NOBODY, dtype=np.int32) for start, end in watched]

    def load(self, program: int, addresses: Any) -> None:
        """Note that a program loads the elements that begin at these addresses.

        Raises:
            DataRace: another program has stored some of them.
        """
        for (start, end, readers), writers in zip(self._readers, self._writers, strict=True):
            at = _inside(addresses, start, end)
            _refuse_race(program, writers[at], "loads", "stored by")
            before = readers[at]
            readers[at] = np.where((before == NOBODY) | (before == program), program, SEVERAL)

    def store(self, program: int, addresses: Any, changed: Any = True) -> None:
        """Note that a program stores to the elements that begin at these addresses.

        Args:
            program: number of the program.
            addresses: one per stored element.
            changed: which elements change their value; a store that does not change the value is no race.

        Raises:
            DataRace: another program has loaded some of the elements that change.
        """
        changed = np.broadcast_to(changed, addresses.shape)
        for (start, end, readers), writers in zip(self._readers, self._writers, strict=True):
            _refuse_race(program, readers[_inside(addresses[changed], start, end)], "stores", "loaded by")
            writers[_inside(addresses, start, end)] = program


def _refuse_race(program: int, accesses: Any, does: str, done: str) -> None:
    """Raise DataRace if any of the earlier `accesses`, given by program, is another program's."""
    foreign = accesses[(accesses != NOBODY) & (accesses != program)]
    if foreign.size:
        whom = "other programs" if foreign[0] == SEVERAL else f"program {foreign[0]}"
        raise DataRace(
            f"program {program} {does} {foreign.size} elements {done} {whom} in the same launch, without an atomic "
            "operation: on a GPU programs run at the same time and in any order"
        )


def _inside(addresses: Any, start: int, end: int) -> Any:
    """Return the offsets, in bytes, of those addresses that lie in a tensor."""
    return (addresses[(addresses >= start) & (addresses < end)] - np.uint64(start)).astype(np.int64)
