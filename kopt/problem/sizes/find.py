"""Find the sizes of a reference: constants that reach the shapes of its inputs, parameters or results."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import combinations

from kopt.problem.sizes.size import EXPERTS, HEAD, Size
from kopt.problem.sizes.tried import Trial, Tried

STEPS = (1, 2, 3, 4, 5, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128, 256)
"""Steps that are tried, smallest first."""

STRUCTURAL = 16
"""A size up to this that reaches no input (kernel, groups, stride) is left as it is."""

MOST_PASSES = 64
"""Most passes of a loop that one kernel may have written out."""

HEADS_RANK = 3
"""Dimensions of a tensor of heads, at least."""


@dataclass(frozen=True)
class Finder:
    """Finds the sizes of one reference."""

    tried: Tried
    results: bool = False
    """Whether a constant that reaches the shapes of results alone is a size, too."""
    ties: Collection[tuple[str, ...]] = ()
    """Constants of equal value that change together where the reference takes that."""

    def found(self, constants: Mapping[str, int]) -> tuple[Size, ...]:
        """Return the sizes among whole numbers of the reference, given by name, the largest first."""
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
                found.append(replace(size, repeats=self._repeats(size)))
                taken |= set(size.names)
        return tuple(found)

    def _tied(self, name: str, value: int, taken: set[str]) -> Size | None:
        tie = tuple(other for group in self.ties if name in group for other in group if other not in taken)
        for step in STEPS:
            if tie and step < _end(value) and self.tried.run(dict.fromkeys(tie, value - step)):
                return Size(tie, (value,) * len(tie), step)
        return None

    def _alone(self, name: str, value: int, constants: Mapping[str, int]) -> Size | None:
        for step in STEPS:
            if step < _end(value) and (trial := self.tried.run({name: value - step})):
                reaches_input = trial.inputs != self.tried.given.inputs or self._reaches_results(trial)
                reaches = reaches_input or trial.parameters != self.tried.given.parameters
                if not reaches or (not reaches_input and value <= STRUCTURAL):
                    return None
                size = Size((name,), (value,), step)
                if self._is_head(size) or self._is_routed(size):
                    return replace(size, power=True)
                return replace(size, step=math.lcm(step, self._parted(value, value - step, trial, constants)))
        return None

    def _repeats(self, size: Size) -> bool:
        """Return whether the reference repeats operations once for each step of a size, and does so a few times."""
        value, step = size.values[0], size.step
        trials = [self.tried.run(size.at(value - less * step)) for less in (0, 1, 2) if value > less * step]
        first, *others = (len(trial.made) for trial in trials if trial is not None)
        left = [first - other for other in others]
        return value <= MOST_PASSES * step and len(left) == 2 and 0 < 2 * left[0] == left[1]

    def _is_head(self, size: Size) -> bool:
        """Return whether a size is a short row of heads: a power of two that kernels hold in one tile."""
        value = size.values[0]
        if value & (value - 1) or not HEAD[0] <= value <= HEAD[1]:
            return False
        if value in self.tried.given.contracted:
            return self.tried.is_row(size)
        return not self.tried.given.windowed and self.tried.is_row(size, rank=HEADS_RANK)

    def _is_routed(self, size: Size) -> bool:
        """Return whether a size is a number of experts: a power of two of which the reference takes the largest few."""
        value = size.values[0]
        if value & (value - 1) or not EXPERTS[0] <= value <= EXPERTS[1] or value not in self.tried.given.chosen_from:
            return False
        trial = self.tried.run(size.at(value - size.step))
        return trial is not None and value not in trial.chosen_from

    def _parted(self, value: int, other: int, trial: Trial, constants: Mapping[str, int]) -> int:
        """Return what a size stays a multiple of, since the reference merges it with others and parts the whole.

        `x.view(batch, groups, -1)` takes any number of channels, of which only multiples of `groups` are meant; of
        `x.view(batch, groups, group, -1)` only multiples of `groups * group`.

        Args:
            value: the size in the reference.
            other: another value of it.
            trial: the shapes with that value.
            constants: whole numbers of the reference, by name.
        """
        parts, given = 1, self.tried.given
        by_shape: dict[int, dict[int, int]] = {}
        """Parts by dimension, by the place of the result that they part."""
        for name, part in constants.items():
            if not 1 < part < value or value % part:
                continue
            double = self.tried.shapes_of({name: 2 * part})
            if double is None or (double.inputs, double.parameters) != (given.inputs, given.parameters):
                continue
            if not len(double.made) == len(given.made) == len(trial.made):
                continue
            for place, (usual, doubled, changed) in enumerate(zip(given.made, double.made, trial.made, strict=True)):
                named = [at for at, pair in enumerate(zip(usual, doubled, strict=False)) if pair == (part, 2 * part)]
                own = (value, other) in zip(usual, changed, strict=False)
                if named and usual != changed and not own:
                    parts = math.lcm(parts, part)
                    by_shape.setdefault(place, {}).update(dict.fromkeys(named, part))
        wholes = (math.prod(by_dimension.values()) for by_dimension in by_shape.values())
        return math.lcm(parts, *(whole for whole in wholes if value % whole == 0))

    def _is_idle(self, name: str, value: int) -> bool:
        """Return whether a constant changes no shape of inputs and parameters, such as a bound of their values."""
        given, trials = self.tried.given, (self.tried.run({name: value - step}) for step in STEPS if step < value)
        trial = next((trial for trial in trials if trial is not None), None)
        if trial is None or (trial.inputs, trial.parameters) != (given.inputs, given.parameters):
            return False
        return not self._reaches_results(trial)

    def _reaches_results(self, trial: Trial) -> bool:
        return self.results and len(trial.made) == len(self.tried.given.made) and trial.made != self.tried.given.made

    def _together(self, name: str, constants: Mapping[str, int], taken: set[str], pairs: bool) -> Size | None:
        """Return the size of constants that must change together: equal ones, with `pairs` others in their ratio."""
        value = constants[name]
        equal = tuple(other for other, own in constants.items() if own == value and other not in taken)
        if not pairs:  # what changes no shape by itself is no part of a size that is one without it
            equal = tuple(other for other in equal if other == name or self._alone(other, value, constants) is None)
        others = [other for other, own in constants.items() if other not in taken and other != name and own > 1]
        like = [(name, other) for other in equal if other != name]  # first: three equal sizes need not be one
        alike = tuple(dict.fromkeys((name, *equal)))
        unequal = [(name, other) for other in others] if pairs else []
        wide = _with_multiples(alike, {n: constants[n] for n in others if n not in equal}) if pairs else ()
        for group in dict.fromkeys([*like, alike, *unequal, *wide]):
            for step in STEPS:
                changed = {n: constants[n] * (value - step) // value for n in group}
                exact = all(constants[n] * (value - step) % value == 0 for n in group)
                if step < _end(value) and exact and len(group) > 1 and (trial := self.tried.run(changed)):
                    if trial.inputs == self.tried.given.inputs and trial.parameters == self.tried.given.parameters:
                        return None
                    needed = self._needed(changed)
                    size = Size(needed, tuple(constants[n] for n in needed), step)
                    return replace(size, power=self._is_routed(size))
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
                    and self.tried.run({n: changed[n] for n in (first, *rest)})
                ):
                    others = rest
        return (first, *others)


def _end(value: int) -> int:
    """Return the end of the steps that are tried: a size of 1 may be taken since it broadcasts."""
    return max(value - 1, 2)


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
