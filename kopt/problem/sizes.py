"""Derive small, ragged and hidden workloads of a problem from its sizes, by trying which sizes its reference takes.

A size is a constant of the reference that reaches the shapes of its inputs or parameters; where these sizes leave
tensors too large, also one that reaches the shapes of results alone, as a vocabulary to which gradients are added.  The
steps:

1. Find for each size the step in which it can change alone (8 where 8 groups must divide it), or the sizes that have to
   change with it.
2. Halve the largest size again and again, until no tensor is larger than wanted; what powers of two divide a size
   divides it still.  One size may stay long, so that a loop over it goes round more than once.
3. For a ragged workload, add a rest to each size, or take one off, so that no size is a multiple of a tile, and most
   are a usual tile and a rest; long sizes have a rest, too.  Small sizes (three coordinates, four heads) are structure,
   and stay.  Rows of heads (contracted in batches, or of three dimensions without windows) stay powers of two from 16
   to 256 where they are such, as kernels hold such a row in one tile.  Sizes that a view merges and parts by a constant
   stay multiples of it.

A choice is taken if the reference runs with it, no dimension of any of its tensors shrinks to 1, and a tensor that it
cuts into equal pieces (the halves of a head) still is.  Works on values: what runs the reference is passed as a
function.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import combinations
from typing import Protocol

Shape = tuple[int, ...]
Constants = dict[str, int]

STEPS = (1, 2, 3, 4, 5, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128, 256)
"""Steps that are tried, smallest first."""

STRUCTURAL = 16
"""A size up to this that reaches no input (kernel, groups, stride) is left as it is."""

FEWEST_STEPS = 4
"""Least size in steps, where the step is larger than 1: a group of one element would have nothing to normalise."""

START = 1024
"""Largest size of a small workload."""

LONG = 16
"""Largest ratio of the longest size of the workload `tiles` to the others."""

LONGEST, ROW, FLAT = 1024, 4096, 1 << 14
"""A size that alone is long: its ratio to the others, at most; its largest value where rows are as long, and where
there is no other dimension."""

LOOPED = 128
"""Size from which on kernels may go over it in a loop."""

MOST_LONG = 3
"""Sizes, at most, that are long one after the other."""

ALIGNED = 16
"""Largest power of two that a size keeps as a factor."""

ROW_UNIT = 8
"""Ragged rows stay a multiple of this where the given ones are, since tensor descriptors need rows of 16 bytes."""

FEWEST_ROWS = 16
"""Least value of a size in the ragged workload, where it fits: programs take up to so many rows."""

HEAD, HEADS_RANK = (16, 256), 3
"""Least and largest length of rows of heads, which stay powers of two; dimensions of a tensor of heads, at least."""

RESTS = 4
"""How many times more elements than wanted a tensor may have where its sizes have rests."""

KEPT = 4
"""A size up to this (three coordinates, four heads) stays as it is, unless the reference takes no other small sizes."""


class Trial(Protocol):
    """The shapes that a reference makes with one choice of its sizes."""

    @property
    def inputs(self) -> tuple[Shape, ...]:
        """Shapes of the inputs."""

    @property
    def parameters(self) -> tuple[Shape, ...]:
        """Shapes of the parameters."""

    @property
    def made(self) -> tuple[Shape, ...]:
        """Shapes of all results."""

    @property
    def pieces(self) -> tuple[bool, ...]:
        """Whether the pieces are equally long, for each tensor and dimension that is cut into pieces."""

    @property
    def contracted(self) -> frozenset[int]:
        """Lengths over which the reference multiplies batches of matrices."""

    @property
    def windowed(self) -> bool:
        """Whether the reference moves windows over its inputs (convolutions, poolings, interpolations)."""

    @property
    def largest(self) -> int:
        """Elements of the largest tensor."""


Try = Callable[[Mapping[str, int]], Trial | None]
"""Runs the reference with constants replaced; None where it does not run."""


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

    @property
    def least(self) -> int:
        """Smallest value of the first constant."""
        if self.power:
            return min(self.values[0], HEAD[0])
        return min(self.values[0], 2 if self.step == 1 else FEWEST_STEPS * self.step)

    def at(self, value: int) -> Constants:
        """Return the constants when the first one has this value."""
        return {name: own * value // self.values[0] for name, own in zip(self.names, self.values, strict=True)}


class Sizes:
    """The sizes of one reference, and the workloads that follow from them."""

    def __init__(
        self,
        constants: Mapping[str, int],
        run: Try,
        *,
        results: bool = False,
        ties: Collection[tuple[str, ...]] = (),
    ) -> None:
        """Find the sizes.

        Args:
            constants: whole numbers of the reference, by name.
            run: runs the reference with other numbers.
            results: a constant that reaches the shapes of results alone is a size, too.
            ties: constants of equal value that change together where the reference takes that.
        """
        given = run({})
        assert given is not None
        self._given = given
        self._kept = KEPT
        self._results = results
        self._ties = ties
        self._shapes_of = run
        self.sizes = self._found(constants)

    def change_all(self) -> None:
        """Let also the smallest sizes change from now on."""
        self._kept = 1

    def small(self, most: int) -> Constants | None:
        """Return sizes with one long dimension and short others; None where the reference takes none so small."""
        return self._whole(self._shrunk(most, START, LONG))

    def long(self, most: int) -> Iterator[tuple[str, Constants]]:
        """Yield the name and the sizes of workloads in which one size, over which kernels may loop, is alone long.

        A kernel that forgets its sum at every step of a loop is right where the loop goes round once.
        """
        usual = self._shrunk(most, START, LONG) or {}
        for at, size in enumerate(self.sizes[:MOST_LONG]):
            row = self._is_row(size)
            if size.values[0] < LOOPED or (at == 0 and not row):  # the first is long in `small`
                continue
            longest = FLAT if self._is_flat else ROW if row else START
            chosen = self._shrunk(most, START, LONGEST, longest=size, longest_start=longest)
            if chosen is not None and chosen[size] >= 2 * usual.get(size, 0):
                rests = _with_rest(chosen[size], size, self._unit(size))
                found = ({**chosen, size: value} for value in rests if self._fits({**chosen, size: value}, 2 * most))
                yield size.names[0], self._changed(next(found, chosen))

    def ragged(self, most: int, start: int = START, flat: int = START) -> Constants | None:
        """Return sizes alike in length and no multiples of tiles; None where the reference takes none so small.

        Args:
            most: elements of a tensor, at most, but for the rests.
            start: largest value of a size.
            flat: largest value where there is no other dimension.
        """
        start = flat if self._is_flat else start
        even = self._shrunk(most, start, 1)
        if even is None:
            return None
        chosen = dict(even)
        # Sizes that differ show a kernel that takes one for another.
        taken = {even[size] for size in self.sizes if size.values[0] <= self._kept}
        for size in self.sizes:
            own = size.values[0]
            if own <= self._kept or (even[size] == own <= STRUCTURAL and own not in taken):
                taken.add(own)
                continue
            values = list(_ragged(even[size], size, self._unit(size)))
            for odd in sorted(values, key=lambda value: value in taken):
                if self._fits({**chosen, size: odd}, RESTS * most):
                    taken.add(odd)
                    chosen[size] = odd
                    break
        return self._whole(chosen)

    @property
    def _is_flat(self) -> bool:
        """Whether no tensor has more than one dimension."""
        given = self._given
        return all(len(shape) < 2 for shape in (*given.inputs, *given.parameters, *given.made))

    def _unit(self, size: Size) -> int:
        """Return what ragged values of a size are multiples of."""
        return ROW_UNIT if size.values[0] % ROW_UNIT == 0 and self._is_row(size) else 1

    def _found(self, constants: Mapping[str, int]) -> tuple[Size, ...]:
        found: list[Size] = []
        taken: set[str] = set()
        for name, value in sorted(constants.items(), key=lambda item: -item[1]):
            if name in taken or value < 2:
                continue
            size = (
                self._tied(name, value, taken)
                or self._alone(name, value, constants)
                or self._together(name, constants, taken, pairs=not self._is_idle(name, value))
            )
            if size is not None:
                found.append(size)
                taken |= set(size.names)
        return tuple(found)

    def _run(self, constants: Mapping[str, int]) -> Trial | None:
        """Run the reference with other constants; None where it does not run, or no longer cuts into equal pieces."""
        trial = self._shapes_of(constants)
        if trial is None or len(trial.pieces) != len(self._given.pieces):
            return trial
        uneven = any(was and not now for was, now in zip(self._given.pieces, trial.pieces, strict=True))
        return None if uneven else trial

    def _tied(self, name: str, value: int, taken: set[str]) -> Size | None:
        tie = tuple(other for group in self._ties if name in group for other in group if other not in taken)
        for step in STEPS:
            if tie and step < value and self._run(dict.fromkeys(tie, value - step)):
                return Size(tie, (value,) * len(tie), step)
        return None

    def _alone(self, name: str, value: int, constants: Mapping[str, int]) -> Size | None:
        for step in STEPS:
            if step < value and (trial := self._run({name: value - step})):
                reaches_input = trial.inputs != self._given.inputs or self._reaches_results(trial)
                reaches = reaches_input or trial.parameters != self._given.parameters
                if not reaches or (not reaches_input and value <= STRUCTURAL):
                    return None
                size = Size((name,), (value,), step)
                if self._is_head(size):
                    return replace(size, power=True)
                return replace(size, step=math.lcm(step, self._parted(value, value - step, trial, constants)))
        return None

    def _is_head(self, size: Size) -> bool:
        """Return whether a size is a short row of heads: a power of two that kernels hold in one tile."""
        value = size.values[0]
        if value & (value - 1) or not HEAD[0] <= value <= HEAD[1]:
            return False
        if value in self._given.contracted:
            return self._is_row(size)
        return not self._given.windowed and self._is_row(size, rank=HEADS_RANK)

    def _parted(self, value: int, other: int, trial: Trial, constants: Mapping[str, int]) -> int:
        """Return what a size stays a multiple of, since the reference merges it with others and parts the whole.

        `x.view(batch, groups, -1)` takes any number of channels, of which only multiples of `groups` are meant.

        Args:
            value: the size in the reference.
            other: another value of it.
            trial: the shapes with that value.
            constants: whole numbers of the reference, by name.
        """
        parts = 1
        for name, part in constants.items():
            if not 1 < part <= STRUCTURAL or part >= value or value % part:
                continue
            double, given = self._shapes_of({name: 2 * part}), self._given
            if double is None or (double.inputs, double.parameters) != (given.inputs, given.parameters):
                continue
            if not len(double.made) == len(given.made) == len(trial.made):
                continue
            for usual, doubled, changed in zip(given.made, double.made, trial.made, strict=True):
                named = (part, 2 * part) in zip(usual, doubled, strict=False)
                own = (value, other) in zip(usual, changed, strict=False)
                if named and usual != changed and not own:
                    parts = math.lcm(parts, part)
        return parts

    def _is_idle(self, name: str, value: int) -> bool:
        """Return whether a constant changes no shape of inputs and parameters, such as a bound of their values."""
        trial = next((trial for step in STEPS if step < value and (trial := self._run({name: value - step}))), None)
        same = trial is not None and (trial.inputs, trial.parameters) == (self._given.inputs, self._given.parameters)
        return same and not (trial is not None and self._reaches_results(trial))

    def _reaches_results(self, trial: Trial) -> bool:
        return self._results and len(trial.made) == len(self._given.made) and trial.made != self._given.made

    def _together(self, name: str, constants: Mapping[str, int], taken: set[str], pairs: bool) -> Size | None:
        """Return the size of constants that must change together: equal ones, with `pairs` others in their ratio."""
        value = constants[name]
        equal = tuple(other for other, own in constants.items() if own == value and other not in taken)
        others = [other for other, own in constants.items() if other not in taken and other != name and own > 1]
        like = [(name, other) for other in equal if other != name]  # first: three equal sizes need not be one
        alike = tuple(dict.fromkeys((name, *equal)))
        unequal = [(name, other) for other in others] if pairs else []
        wide = _with_multiples(alike, {n: constants[n] for n in others if n not in equal}) if pairs else ()
        for group in dict.fromkeys([*like, alike, *unequal, *wide]):
            for step in STEPS:
                changed = {n: constants[n] * (value - step) // value for n in group}
                exact = all(constants[n] * (value - step) % value == 0 for n in group)
                if step < value and exact and len(group) > 1 and (trial := self._run(changed)):
                    if trial.inputs == self._given.inputs and trial.parameters == self._given.parameters:
                        return None
                    needed = self._needed(changed)
                    return Size(needed, tuple(constants[n] for n in needed), step)
        return None

    def _needed(self, changed: Mapping[str, int]) -> tuple[str, ...]:
        """Return the constants of a group without those, alone or in pairs, that need not change with the first one."""
        first, *others = changed
        for count in (1, 2):
            for left in combinations(tuple(others), count):
                rest = [name for name in others if name not in left]
                if (
                    len(others) > count
                    and set(left) <= set(others)
                    and self._run({n: changed[n] for n in (first, *rest)})
                ):
                    others = rest
        return (first, *others)

    def _is_row(self, size: Size, rank: int = 1) -> bool:
        """Return whether a size is the length of the rows of an input or a parameter of `rank` dimensions or more."""
        trial = self._run(self._constants({size: size.values[0] - size.step}))
        if trial is None:
            return False
        given, changed = (*self._given.inputs, *self._given.parameters), (*trial.inputs, *trial.parameters)
        pairs = zip(given, changed, strict=False)
        return any(len(one) == len(other) >= rank and one[-1] != other[-1] for one, other in pairs)

    def _shrunk(
        self, most: int, start: int, long: int, *, longest: Size | None = None, longest_start: int | None = None
    ) -> dict[Size, int] | None:
        """Halve the largest size until no tensor has more than `most` elements.

        Args:
            most: elements of a tensor, at most.
            start: largest value of a size.
            long: how many times longer than the others the longest size may stay.
            longest: the longest size; None for the first.
            longest_start: its largest value; None for that of the others.
        """
        chosen = {size: size.values[0] for size in self.sizes}
        if not chosen:
            return chosen if self._fits(chosen, most) else None
        longest = longest or self.sizes[0]
        frozen: set[Size] = set()
        for size in self.sizes:  # the first halvings at once
            limit = (longest_start if size is longest else None) or start
            if chosen[size] > limit:
                first = _rounded(limit, size)
                if self._fits({**chosen, size: first}):
                    chosen[size] = first
        while not self._fits(chosen, most):
            open_sizes = [
                size
                for size in self.sizes
                if size not in frozen and chosen[size] > size.least and size.values[0] > self._kept
            ]
            if not open_sizes:
                return None
            size = max(open_sizes, key=lambda size: chosen[size] / (long if size is longest else 1))
            value = next((v for v in _lower(chosen[size], size) if self._fits({**chosen, size: v})), None)
            if value is None:
                frozen.add(size)
            else:
                chosen[size] = value
        return chosen

    def _fits(self, chosen: Mapping[Size, int], most: int | None = None) -> bool:
        trial = self._run(self._constants(chosen))
        if trial is None or (most is not None and trial.largest > most):
            return False
        if [len(shape) for shape in trial.made] != [len(shape) for shape in self._given.made]:
            return all(size > 0 for shape in trial.made for size in shape)
        pairs = [*zip(trial.made, self._given.made, strict=True), *zip(trial.inputs, self._given.inputs, strict=True)]
        return not any(_collapsed(shape, given) for shape, given in pairs)

    def _constants(self, chosen: Mapping[Size, int]) -> Constants:
        return {name: own for size, value in chosen.items() for name, own in size.at(value).items()}

    def _whole(self, chosen: Mapping[Size, int] | None) -> Constants | None:
        """Return the constants that differ from the reference's own."""
        return None if chosen is None else self._changed(chosen)

    def _changed(self, chosen: Mapping[Size, int]) -> Constants:
        given = {name: value for size in self.sizes for name, value in zip(size.names, size.values, strict=True)}
        return {name: value for name, value in self._constants(chosen).items() if value != given[name]}


def _collapsed(shape: Shape, given: Shape) -> bool:
    if len(shape) != len(given):
        return False
    return any(now < min(before, 2) for now, before in zip(shape, given, strict=True))


def _with_multiples(alike: tuple[str, ...], others: Mapping[str, int]) -> Iterator[tuple[str, ...]]:
    """Yield the first of equal constants, then all, with those of another value that divides theirs or is a multiple.

    The columns of a matrix, the rows of another one and a scale for each 128 of them are such a size.
    """
    by_value: dict[int, list[str]] = {}
    for name, value in others.items():
        by_value.setdefault(value, []).append(name)
    for first in dict.fromkeys([alike[:1], alike]):
        for names in by_value.values():
            yield (*first, *names)
            yield from ((*first, other) for other in names if len(first) > 1)


def _rounded(value: int, size: Size) -> int:
    """Return a value that the size takes: some steps below its own, near `value`, with its own power of two in it."""
    own = size.values[0]
    if size.power:
        return max(size.least, 1 << max(value, 1).bit_length() - 1)
    power = min(own & -own, ALIGNED)
    while power > max(value, 1):
        power //= 2
    step = math.lcm(size.step, power)
    return max(size.least, own - -(-(own - value) // step) * step)


def _lower(value: int, size: Size) -> Iterable[int]:
    """Yield smaller values, the half first."""
    for share in (0.5, 0.6, 0.7, 0.8, 0.9):
        lower = _rounded(int(value * share), size)
        if lower < value:
            yield lower
    if value - size.step >= size.least:
        yield value - size.step


def _with_rest(value: int, size: Size, unit: int) -> Iterable[int]:
    """Yield values a little larger than `value`, which is many tiles, so that a rest is left."""
    step = math.lcm(size.step, unit)
    if not size.power:
        yield from (v for v in (value + 13 * step, value + 3 * step, value + step) if v <= size.values[0])


def _ragged(value: int, size: Size, unit: int) -> Iterable[int]:
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
