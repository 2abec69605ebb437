"""Jump over the iterations of a long loop, and see by some of them whether what lies between is a progression."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from kopt.estimate.arithmetic import Lanes, MaybeLanes
from kopt.estimate.full_size.accesses import Access, Made, Mask
from kopt.estimate.trip_counts import first_end

FIRST, LAST = 3, 8
"""Iterations at the begin and the end of a long loop that are executed; pipelines end within the last ones."""
TRIES = 24
"""Iterations that are executed in between and compared with the progression."""
SHORTER, SHORTEST = 4, 64
"""How many times shorter a jump is tried than the last, and the shortest that is worth it, in iterations."""
RESTS = 16
"""Iterations after the first vain jump that are executed before another is tried; later twice as many each time."""


@dataclass
class State:
    """What an executor knows at one place of a program, to return there."""

    values: dict[str, MaybeLanes]
    tests: dict[str, tuple[str, Lanes, Lanes]]
    unknown: dict[int, float]
    undecided: dict[int, int]
    waiting: dict[int, Mask]
    visits: int
    """Number of visits so far."""
    made: Made
    """Descriptors so far."""


@dataclass
class Jump:
    """A jump over iterations that is being tried."""

    state: State
    """State before the jump."""
    steps: dict[str, Lanes]
    """How far an iteration moves each carried register."""
    skipped: Lanes
    """Iterations to jump over, by thread."""
    visits: list[tuple[Access, Access]]
    """Visits of the last two iterations, in pairs."""
    unknown: dict[int, float]
    """Bytes at unknown addresses of one iteration."""
    tried: int = field(default=0, init=False)
    """Number of shares tried so far, with the one being tried."""
    shares: tuple[float, ...] = field(init=False)
    """Shares of the iterations to jump over after which one iteration is executed; they keep to no period."""

    def __post_init__(self) -> None:
        """Draw the shares: the same for the same jump, the last of them 1."""
        most = int(self.skipped.max())
        draws = np.random.default_rng((most, self.state.visits)).random(TRIES - 1)
        self.shares = (*np.sort(draws).tolist(), 1.0)

    @property
    def over(self) -> bool:
        """Whether all shares were tried."""
        return self.tried == len(self.shares)

    @property
    def count(self) -> Lanes:
        """Iterations that are jumped over now, by thread."""
        count: Lanes = np.floor(self.skipped * self.shares[self.tried - 1]).astype(np.int64)
        return count

    def shorter(self) -> Jump | None:
        """Return a jump over fewer iterations from the same place; None where it is not worth it."""
        most = int(self.skipped.max()) // SHORTER
        if most < SHORTEST:
            return None
        return Jump(self.state, self.steps, np.minimum(self.skipped, most), self.visits, self.unknown)

    def is_progression(self, found: Sequence[Access], count: Lanes) -> bool:
        """Return whether the visits of the iteration after `count` further ones are those of the progression."""
        if [visit.at for visit in found] != [visit.at for _, visit in self.visits]:
            return False
        for (old, last), new in zip(self.visits, found, strict=True):
            if not (np.array_equal(new.active, last.active) and np.array_equal(new.certain, last.certain)):
                return False
            expected = last.address + (last.address - old.address) * (count + 1)
            if (new.address != expected)[last.active].any():
                return False
        return True


class Loop:
    """A loop that is being executed: the states in which its head was reached by its last branch."""

    def __init__(self, mask: Mask) -> None:
        """Begin with the threads that go round."""
        self.mask = mask
        self.given_up = False
        self._resting, self._next_rest = 0, RESTS
        self.begin_again()

    def begin_again(self) -> None:
        """Forget the iterations so far."""
        self.states: list[dict[str, Lanes]] = []
        self.tests: list[tuple[Lanes, Lanes]] = []
        self.marks: list[int] = []  # number of visits made so far
        self.unknown: list[dict[int, float]] = []  # bytes at unknown addresses, one iteration ago and now
        self.jump: Jump | None = None

    def rest(self) -> None:
        """Try no jump for some iterations."""
        self._resting, self._next_rest = self._next_rest, 2 * self._next_rest
        self.begin_again()

    def rests(self) -> bool:
        """Return whether no jump is to be tried in this iteration."""
        self._resting -= self._resting > 0
        return self.given_up or self._resting > 0

    def register_steps(self, carried: Collection[str]) -> dict[str, Lanes] | None:
        """Return by how much each carried register moved in each of the last iterations; None where that differs."""
        one, two, three = self.states[-3:]
        if not one.keys() == two.keys() == three.keys() == set(carried):
            return None
        steps = {name: three[name] - two[name] for name in three}
        if any((steps[name] != two[name] - one[name])[self.mask].any() for name in three):
            return None
        return steps

    def skipped_iterations(self, comparison: str, stay: bool) -> Lanes | None:
        """Return how many iterations there are before the last ones, by thread; None where it is not known, or none.

        Args:
            comparison: opcode of the loop's test.
            stay: whether the loop goes on while the comparison holds.
        """
        one, two, three = [left - right for left, right in self.tests[-3:]]
        step = three - two
        if (step != two - one)[self.mask].any():
            return None
        ends = first_end(comparison.split(".")[1], three.astype(np.float64), step.astype(np.float64), stay=stay)
        if ends is None:
            return None
        finite = np.where(np.isfinite(ends), ends, -1.0).astype(np.int64)
        skipped = np.where(self.mask & (finite > LAST), finite - LAST, 0)
        return skipped if (finite[self.mask] >= 0).all() and skipped.max() >= SHORTEST else None

    def last_visits(self, visits: list[Access]) -> list[tuple[Access, Access]] | None:
        """Pair the visits of the last two iterations; None where they cannot be told to be a progression.

        Args:
            visits: all visits so far.
        """
        start, middle, end = self.marks[-3:]
        before, after = visits[start:middle], visits[middle:end]
        if [visit.at for visit in before] != [visit.at for visit in after] or any(v.step is not None for v in after):
            return None
        return list(zip(before, after, strict=True))


class _Round(NamedTuple):
    """One iteration of a loop that goes round."""

    steps: int
    """Instructions that were executed before."""
    distance: Lanes
    """Difference of the sides of the loop's test, by thread."""


class Rounds:
    """How far the loops that a walk is in have come."""

    def __init__(self) -> None:
        """Begin with no loop."""
        self._first: dict[int, _Round] = {}
        self._last: dict[int, tuple[_Round, Mask]] = {}

    def add(self, head: int, steps: int, test: tuple[str, Lanes, Lanes] | None, taken: Mask) -> None:
        """Add an iteration.

        Args:
            head: index of the loop's first instruction.
            steps: instructions that were executed so far.
            test: the loop's test; None where it is not known.
            taken: threads that go round; the loop is over where there are none.
        """
        if test is None or not taken.any():
            self._first.pop(head, None)
            self._last.pop(head, None)
            return
        current = _Round(steps, test[1] - test[2])
        self._first.setdefault(head, current)
        self._last[head] = current, taken

    def steps_to_end(self) -> float:
        """Return about how many instructions the walk takes in all, by its outermost loop; 0 where it is not known."""
        for head in sorted(self._last):
            first, (last, taken) = self._first[head], self._last[head]
            if last.steps > first.steps:
                came, lacks = np.abs(first.distance - last.distance)[taken], np.abs(last.distance)[taken]
                still = lacks / np.where(came > 0, came, 0.5)  # where nothing moves, the loop may be endless
                return last.steps + float(still.max()) * (last.steps - first.steps)
        return 0.0
