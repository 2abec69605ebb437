"""Define a size of a reference, and the values that it takes: smaller ones, with a rest, no multiples of a tile."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

Constants = dict[str, int]

FEWEST_STEPS = 4
"""Least size in steps, where the step is larger than 1: a group of one element would have nothing to normalise."""

ALIGNED = 16
"""Largest power of two that a size keeps as a factor."""

FEWEST_ROWS = 16
"""Least value of a size in the ragged workload, where it fits: programs take up to so many rows."""

HEAD = (16, 256)
"""Least and largest length of rows of heads, which stay powers of two."""

EXPERTS = (8, 512)
"""Least and largest number of experts, of which a router takes the largest few, that stays a power of two."""


@dataclass(frozen=True)
class Size:
    """Constants that change together, in one ratio."""

    names: tuple[str, ...]
    values: tuple[int, ...]
    """Values of the constants in the reference."""
    step: int
    """Step of the first constant."""
    power: bool = False
    """Whether it stays a power of two."""
    repeats: bool = False
    """Whether the reference repeats operations so many times, as a loop over steps of time does."""

    @property
    def least(self) -> int:
        """Smallest value of the first constant."""
        if self.power:
            return min(self.values[0], HEAD[0])
        return min(self.values[0], 2 if self.step == 1 else FEWEST_STEPS * self.step)

    def at(self, value: int) -> Constants:
        """Return the constants when the first one has this value."""
        return {name: own * value // self.values[0] for name, own in zip(self.names, self.values, strict=True)}


def rounded(value: int, size: Size) -> int:
    """Return a value that the size takes: some steps below its own, near `value`, with its own power of two in it."""
    own = size.values[0]
    if size.power:
        return max(size.least, 1 << max(value, 1).bit_length() - 1)
    power = min(own & -own, ALIGNED)
    while power > max(value, 1):
        power //= 2
    step = math.lcm(size.step, power)
    return max(size.least, own - -(-(own - value) // step) * step)


def lower(value: int, size: Size) -> Iterable[int]:
    """Yield smaller values, the half first."""
    for share in (0.5, 0.6, 0.7, 0.8, 0.9):
        smaller = rounded(int(value * share), size)
        if smaller < value:
            yield smaller
    if value - size.step >= size.least:
        yield value - size.step


def with_rest(value: int, size: Size, unit: int) -> Iterable[int]:
    """Yield values a little larger than `value`, which is many tiles, so that a rest is left."""
    step = math.lcm(size.step, unit)
    if not size.power:
        yield from (v for v in (value + 13 * step, value + 3 * step, value + step) if v <= size.values[0])


def ragged(value: int, size: Size, unit: int) -> Iterable[int]:
    """Yield values near `value` that are no multiples of a tile but of a unit, a tile and a rest first."""
    own, step = size.values[0], size.step
    if size.power:
        yield from (v for v in (2 * value, value // 2, value) if size.least <= v <= own)
        return
    if step == 1:
        if value < FEWEST_ROWS and unit == 1:
            yield from (v for v in (FEWEST_ROWS + 3, FEWEST_ROWS // 2 + 3) if value < v <= own)
        rest = max(1, value // 8)
        above, below = (value + rest) // unit, (value - rest) // unit
        above, below = above + 1 - above % 2, below - 1 + below % 2
        values = [v * unit for v in (above, above + 2, below, below - 2, below - 4, below - 6)]
        yield from (v for v in values if (unit if unit > 1 else 3) <= v <= own)
        if unit == 1:
            yield from (v for v in (value - 1, value + 1) if 2 < v <= own and v % 2)
    yield from (v for v in (value + step, value - step) if size.least <= v <= own)
