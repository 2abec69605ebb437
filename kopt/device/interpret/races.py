"""Find data races between the programs of a launch, by the happens-before order of their accesses (vector clocks).

On a GPU programs run in any order and at the same time.  An element that one program stores and another one loads or
stores otherwise, in the same launch and with nothing that orders the two, has no defined value on a GPU.  In the
interpreter it has one, so a kernel that accumulates without atomics, or relies on earlier programs, would pass.

Atomic operations order programs: what a program did before one that releases happens before what another program does
after one that acquires, on the same element, if the kernel uses what it returns (a lock taken, the last one to arrive).
An atomic operation whose result nobody looks at makes no program wait.  A volatile load orders alike after the store
that it sees.  Elements that an atomic operation of the launch changes are not watched.

A launch is watched when it runs for the second time: the first time shows which tensors it stores to, and only those
are watched.  `Any` in signatures: arrays of addresses and values.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

NOBODY, SEVERAL = -1, -2
"""Stand for a program's number where no program, or more than one, made an access."""
SAME = 2.0**-6
"""Relative difference up to which two stored values count as the same: they may be rounded in another order."""


class DataRace(Exception):
    """A program loads or stores an element that another program of the launch stores, and nothing orders the two."""


@dataclass
class ObservedLaunch:
    """Observations of a launch's first run."""

    stored: set[tuple[int, int]] = field(default_factory=set)
    """First address and end of every tensor that it stores to."""
    atomic: set[int] = field(default_factory=set)
    """Addresses that atomic operations change."""


class Races:
    """Watch the accesses of one launch: by element, which program has loaded it and which has stored it, and when."""

    def __init__(self, observed: ObservedLaunch) -> None:
        """Watch the tensors that the launch stores to."""
        self._tensors = [_Watched(start, end) for start, end in sorted(observed.stored)]
        self._atomic = np.array(sorted(observed.atomic), dtype=np.int64)
        self._epochs: dict[int, int] = {}
        """By program, how often it has released."""
        self._seen: dict[int, dict[int, int]] = {}
        """By program, the knowledge it has acquired: by other program, up to which of its releases."""
        self._released: dict[int, dict[int, int]] = {}
        """By address, the knowledge that an atomic operation acquires there."""

    def load(self, program: int, addresses: Any, volatile: bool = False) -> None:
        """Note that a program loads the elements that begin at these addresses.

        Raises:
            DataRace: another program has stored some of them, and nothing orders the two.
        """
        addresses = np.asarray(addresses).reshape(-1)
        for tensor in self._tensors:
            at = tensor.inside(addresses)
            if not at.size:
                continue
            if volatile:
                self._acquire_stores(program, tensor, at)
                continue
            at = self._unsynchronised(tensor, at)
            self._refuse(program, tensor.writers[at], tensor.written[at], "loads", "stored by")
            before, seen = tensor.readers[at], tensor.read[at]
            own = (before == NOBODY) | (before == program) | self._ordered(program, before, seen)
            tensor.readers[at] = np.where(own, program, SEVERAL)
            tensor.read[at] = self._epochs.get(program, 0)

    def store(self, program: int, addresses: Any, present: Any = None, new: Any = None) -> None:
        """Note that a program stores to the elements that begin at these addresses.

        Args:
            program: number of the program.
            addresses: one per stored element.
            present: what the elements hold before; a store that does not change them is no race.
            new: what they hold afterwards.

        Raises:
            DataRace: another program has loaded or stored some of the elements that change, unordered.
        """
        addresses = np.asarray(addresses).reshape(-1)
        changed = np.ones(addresses.shape, np.bool_) if present is None else _differs(present, new).reshape(-1)
        for tensor in self._tensors:
            at = tensor.inside(addresses[changed])
            if at.size:
                at = self._unsynchronised(tensor, at)
                self._refuse(program, tensor.readers[at], tensor.read[at], "stores", "loaded by")
                self._refuse(program, tensor.writers[at], tensor.written[at], "stores other values to", "stored by")
            at = tensor.inside(addresses)
            tensor.writers[at] = program
            tensor.written[at] = self._epochs.get(program, 0)

    def atomic(self, program: int, addresses: Any, acquires: bool, releases: bool) -> None:
        """Note an atomic operation on the elements that begin at these addresses."""
        places = [int(address) for address in np.unique(addresses)]
        if acquires:
            seen = self._seen.setdefault(program, {})
            for place in places:
                _learn(seen, self._released.get(place, {}))
        if releases:
            knowledge = self._release(program)
            for place in places:
                _learn(self._released.setdefault(place, {}), knowledge)

    def _release(self, program: int) -> dict[int, int]:
        """Begin the program's next epoch; return the knowledge that it hands on: its own releases and those it saw."""
        epoch = self._epochs[program] = self._epochs.get(program, 0) + 1
        return {**self._seen.get(program, {}), program: epoch}

    def _acquire_stores(self, program: int, tensor: _Watched, at: Any) -> None:
        """Have a volatile load see what the writers of its elements did until they stored."""
        seen = self._seen.setdefault(program, {})
        for writer in np.unique(tensor.writers[at]):
            if writer not in (NOBODY, program):
                _learn(seen, self._release(int(writer)))

    def _unsynchronised(self, tensor: _Watched, at: Any) -> Any:
        """Leave out offsets of elements that atomic operations change."""
        if not self._atomic.size:
            return at
        return at[~np.isin(at + tensor.start, self._atomic)]

    def _ordered(self, program: int, others: Any, epochs: Any) -> Any:
        """Return which accesses, given by program and epoch, happened before what the program does now."""
        seen = self._seen.get(program)
        if not seen:
            return np.zeros(others.shape, np.bool_)
        result = others == SEVERAL  # a program that has waited for others may have waited for these
        for other, until in seen.items():
            result |= (others == other) & (epochs < until)
        return result

    def _refuse(self, program: int, accesses: Any, epochs: Any, does: str, done: str) -> None:
        """Raise DataRace if any of the earlier `accesses`, given by program, is another program's and unordered."""
        foreign = (accesses != NOBODY) & (accesses != program)
        if not foreign.any():
            return
        foreign &= ~self._ordered(program, accesses, epochs)
        count = int(foreign.sum())
        if count:
            first = accesses[foreign][0]
            whom = "other programs" if first == SEVERAL else f"program {first}"
            raise DataRace(
                f"program {program} {does} {count} elements {done} {whom} in the same launch, and no atomic operation "
                "orders the two: on a GPU programs run at the same time and in any order"
            )


class _Watched:
    """What programs did to the elements of one tensor, by offset of their first byte."""

    def __init__(self, start: int, end: int) -> None:
        self.start, self._end = start, end
        self.readers, self.writers = (np.full(end - start, NOBODY, dtype=np.int32) for _ in range(2))
        """Program that loaded, and stored, each element."""
        self.read, self.written = (np.zeros(end - start, dtype=np.int32) for _ in range(2))
        """Epoch of that program in which it did so."""

    def inside(self, addresses: Any) -> Any:
        """Return the offsets, in bytes, of those addresses that lie in the tensor."""
        offsets = np.asarray(addresses).astype(np.int64) - self.start
        return offsets[(offsets >= 0) & (offsets < self._end - self.start)]


def _learn(known: dict[int, int], more: dict[int, int]) -> None:
    """Add knowledge, by program the latest release, to what is known."""
    for program, release in more.items():
        known[program] = max(known.get(program, 0), release)


def _differs(present: Any, new: Any) -> Any:
    """Return which values change by more than rounding; NaN in the place of NaN is no change."""
    if np.asarray(new).dtype.kind != "f":
        return np.asarray(present != new)
    wide, other = np.asarray(present, np.float64), np.asarray(new, np.float64)
    with np.errstate(all="ignore"):
        close = np.abs(wide - other) <= SAME * np.maximum(np.abs(wide), np.abs(other))
    return ~(close | (wide == other) | ((wide != wide) & (other != other)))
