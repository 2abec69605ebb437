"""Follow the control flow of many programs at once, each by its own branches.

Programs that do not jump go on, those that do wait at their target, and the ones at the lowest place go first, so that
all meet again behind a branch.  A loop is cut short after a few iterations; its trip count follows for each program
from how its bounds move.  `kopt.estimate.walk` follows what instructions do.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from kopt.estimate.arithmetic import MaybeLanes
from kopt.estimate.instructions import Instruction, PtxProgram, loop_ends
from kopt.estimate.registers import Mask, Registers, Sample
from kopt.estimate.trip_counts import Test, trip_count

SAMPLED_ITERATIONS = 3
"""Iterations after which a loop is cut short."""
FURTHER_ITERATIONS = 8
"""Iterations from all over the rest of a loop that are followed where the first ones are unlike."""
UNKNOWN = -1
"""Index of an unknown pointer, or of no loop."""

_Number = TypeVar("_Number", np.bool_, np.int64)

Amount = float | npt.NDArray[np.float64]
"""One number for every program of the grid that is sampled, or one number for all."""


@dataclass
class Loop:
    """One loop of the PTX."""

    head: int
    """Index of its first instruction."""
    trips: float | None = None
    """Mean number of iterations per entry and program that enters it; None when its bound is not known."""


@dataclass
class _Frame:
    """A loop that the walk is in; the outermost frame is the whole kernel."""

    head: int
    end: int
    counts: dict[int, Amount] = field(default_factory=dict)
    passes: Amount = 1.0
    """Iterations of each program so far."""
    iterations: int = 1
    exit: int | None = None
    """Index of the instruction at which programs leave the loop."""
    history: dict[int, list[Test]] = field(default_factory=dict)
    """The tests of each branch that can end the loop, one for each iteration, by index of the branch."""
    again: dict[int, Mask] = field(default_factory=dict)
    """Programs that wait for the next iteration, by the instruction at which they begin it."""
    totals: list[Amount] = field(default_factory=list)
    """Instructions of each program at the end of each iteration."""
    states: list[dict[str, MaybeLanes]] = field(default_factory=list)
    """Registers at the end of each iteration."""
    cut: Mask | None = None
    """Programs that were in the loop when it was cut short."""
    trips: npt.NDArray[np.float64] | None = None
    """Iterations of the programs that were cut short; None where they are not known."""
    start: int = UNKNOWN
    """Index of the instruction at which further iterations begin."""
    further: int = 0
    """Iterations that are still to be followed, from the rest of the loop."""
    is_sampled: bool = False
    """Whether iterations from the rest of the loop stand for it."""
    weight: Amount = 1.0
    """Iterations for which the present one stands."""

    def add(self, at: int, amount: Amount) -> None:
        """Count an instruction."""
        self.counts[at] = self.counts.get(at, 0.0) + amount * self.weight


class Flow:
    """Where each sampled program is, and how often each has run each instruction."""

    def __init__(
        self, program: PtxProgram, sampled: Sample, registers: Registers, guess_trips: float, guess_jumps: bool
    ) -> None:
        """Start with all programs at the first instruction.

        Args:
            program: the kernel's code.
            sampled: the threads that are followed.
            registers: their registers.
            guess_trips: iterations of a loop whose bound is not known.
            guess_jumps: whether an undecided branch is taken.
        """
        self._program, self._sample, self._registers = program, sampled, registers
        self._guess_trips, self._guess_jumps = guess_trips, guess_jumps
        self._ends = loop_ends(program)
        self._frames = [_Frame(UNKNOWN, len(program.instructions))]
        self._waiting: dict[int, Mask] = {}
        first = sampled.every.start
        self._grid = slice(sampled.grid_programs.start - first, sampled.grid_programs.stop - first)
        self.loops: dict[int, Loop] = {}
        """Loops by the index of their first instruction."""
        self._go(np.ones(sampled.every.stop - first, dtype=np.bool_))

    @property
    def loop(self) -> int:
        """Index of the first instruction of the innermost loop; UNKNOWN outside loops."""
        return self._frames[-1].head

    def _go(self, programs: Mask) -> None:
        """Let these programs execute, and no others."""
        self._active = programs
        everyone = bool(programs.all())
        self._amount = 1.0 if everyone else self._amount_of(programs)
        self._registers.active = None if everyone else self._threads(programs)

    def _amount_of(self, programs: Mask) -> Amount:
        chosen = programs[self._grid]
        return 1.0 if chosen.all() else chosen.astype(np.float64)

    def _threads(self, values: npt.NDArray[_Number]) -> npt.NDArray[_Number]:
        """Return values per sampled thread from values per program."""
        first = self._sample.every.start
        return np.concatenate([np.full(first, values[self._sample.own - first]), values])

    def arrive(self, at: int) -> None:
        """Count an instruction for the programs that execute, and for those that waited for them there."""
        if self._waiting and (waiting := self._waiting.pop(at, None)) is not None:
            self._go(self._active | waiting)
        while len(self._frames) > 1 and not self._frames[-1].head <= at <= self._frames[-1].end:
            self._close()
        if at in self._ends and self._frames[-1].head != at:
            self._frames.append(_Frame(at, self._ends[at], passes=self._amount))
        self._frames[-1].add(at, self._amount)

    def leave(self, at: int, instruction: Instruction) -> int | None:
        """Return the index of the instruction after one that ends programs; None where all have ended."""
        ending = self._holding(instruction)
        staying = self._active & ~ending if ending is not None else self._active
        if staying.any():
            self._go(staying)
            return at + 1
        return self._next()

    def branch(self, at: int, instruction: Instruction) -> int | None:
        """Return the index of the instruction after a branch; None where all programs have ended."""
        target = self._program.labels.get(instruction.operands[0])
        if target is None:
            return at + 1
        around = [f for f in reversed(self._frames[1:]) if f.head <= at <= f.end]
        if around and instruction.predicate:
            self._remember(around[0], at, instruction, target)
        inner = instruction.operands[0].startswith("$")
        repeated = next((f for f in around if f.head == target), None)
        if repeated is None and target <= at and inner:
            repeated = next((f for f in around if f.head <= target), None)  # a loop with two ways back
        jumping = self._holding(instruction)
        if jumping is None:
            jumps = repeated is not None or (self._guess_jumps and inner)
            jumping = self._active if jumps else np.zeros_like(self._active)
        staying = self._active & ~jumping
        if repeated is not None and jumping.any():
            repeated.again[target] = jumping | repeated.again.get(target, False)
            if repeated.exit is None:
                repeated.exit = at + 1 if instruction.predicate else repeated.end + 1
        elif not self._waiting and not any(f.again for f in self._frames):
            if not jumping.any() or not staying.any():
                return target if jumping.any() else at + 1
            self._wait(target, jumping)
        else:
            self._wait(target, jumping)
        self._wait(at + 1, staying)
        return self._next()

    def _holding(self, instruction: Instruction) -> Mask | None:
        """Return which of the programs that execute do what an instruction says; None where that is not known."""
        if not instruction.predicate:
            return self._active
        value = self._registers.get(instruction.predicate)
        if value is None:
            return None
        holds: Mask = (value[self._sample.every] != 0) != instruction.negated
        return self._active & holds

    def _wait(self, at: int, programs: Mask) -> None:
        if programs.any():
            self._waiting[at] = programs | self._waiting.get(at, False)

    def _next(self) -> int | None:
        """Let those programs execute that wait at the lowest place of the innermost loop; return the place."""
        while True:
            frame = self._frames[-1]
            inside = [at for at in self._waiting if frame.head <= at <= frame.end]
            if inside:
                self._go(self._waiting.pop(min(inside)))
                return min(inside)
            if frame.again or frame.further:
                self._again(frame)
            elif len(self._frames) > 1:
                self._close()
            else:
                return None

    # Loops

    def _again(self, frame: _Frame) -> None:
        """Begin the next iteration of a loop, or leave it after some."""
        again, frame.again = frame.again, {}
        if frame.cut is None:
            frame.totals.append(_sum(list(frame.counts.values())))
            frame.states.append(self._registers.state())
            programs = np.logical_or.reduce(list(again.values()))
            if frame.iterations < SAMPLED_ITERATIONS:
                frame.iterations += 1
                frame.passes = frame.passes + self._amount_of(programs)
                for at, waiting in again.items():
                    self._wait(at, waiting)
                return
            self._cut(frame, programs)
            if frame.trips is not None and len(again) == 1 and self._is_uneven(frame):
                frame.further, frame.is_sampled, frame.start = FURTHER_ITERATIONS, True, next(iter(again))
        assert frame.cut is not None
        for at in list(self._waiting):
            self._waiting[at] = self._waiting[at] & ~frame.cut
            if not self._waiting[at].any():
                del self._waiting[at]
        if frame.further:
            self._further(frame)
        else:
            assert frame.exit is not None
            self._wait(frame.exit, frame.cut)
            frame.exit = frame.end + 1

    def _cut(self, frame: _Frame, programs: Mask) -> None:
        """Cut a loop short for the programs that are in it; find out how often they run it."""
        frame.cut = programs
        known = [trips for history in frame.history.values() if (trips := trip_count(history)) is not None]
        trips = np.minimum.reduce(known) if known else None
        if trips is not None and np.isfinite(trips[self._grid][programs[self._grid]]).all():
            frame.trips = np.where(programs & np.isfinite(trips), trips, float(SAMPLED_ITERATIONS))

    def _is_uneven(self, frame: _Frame) -> bool:
        """Return whether programs that are cut short ran unequal numbers of instructions in the iterations so far."""
        assert frame.cut is not None
        totals = [np.broadcast_to(total, frame.cut[self._grid].shape) for total in (0.0, *frame.totals)]
        each = np.diff(np.stack(totals), axis=0)[:, frame.cut[self._grid]]
        return bool(each.size) and bool(np.any(np.abs(each - each[0]) > 0.5))

    def _further(self, frame: _Frame) -> None:
        """Begin an iteration from the rest of a loop, for every program another one of its own rest."""
        assert frame.cut is not None
        assert frame.trips is not None
        frame.further -= 1
        rest = np.where(frame.cut, np.maximum(frame.trips - SAMPLED_ITERATIONS, 0.0), 0.0)
        steps = np.floor(rest * (1 - (frame.further + 0.5) / FURTHER_ITERATIONS)).astype(np.int64)
        self._registers.move(frame.states, self._threads(steps))
        frame.weight = rest[self._grid] / FURTHER_ITERATIONS
        frame.passes = frame.passes + frame.weight
        self._wait(frame.start, rest > 0)

    def _close(self) -> None:
        """Leave the innermost loop: add its counts, times what was cut short, to the loop around it."""
        frame, cut = self._frames.pop(), None
        loop = self.loops.setdefault(frame.head, Loop(frame.head))
        factor: Amount = 1.0
        if frame.cut is not None:
            cut = frame.cut[self._grid]
            if not frame.is_sampled:
                trips = self._guess_trips if frame.trips is None else frame.trips[self._grid]
                factor = _one(np.where(cut, trips / SAMPLED_ITERATIONS, 1.0))
        if cut is None or not cut.any() or frame.trips is not None:
            passes = np.broadcast_to(frame.passes * factor, self._grid.stop - self._grid.start)
            if (passes > 0).any():
                loop.trips = float(np.mean(passes[passes > 0]))
        for at, count in frame.counts.items():
            self._frames[-1].add(at, count * factor)

    def _remember(self, frame: _Frame, at: int, instruction: Instruction, target: int) -> None:
        """Keep the test of a branch that can end the loop, by jumping out of it or by not jumping back."""
        after = self._lands(at + 1)
        leaves, drops_out = not frame.head <= target <= frame.end, not frame.head <= after <= frame.end
        if frame.cut is not None or (not leaves and not drops_out):
            return
        frame.exit = target if leaves else after
        if test := self._registers.tests.get(instruction.predicate):
            comparison, left, right = test
            holds_to_stay = (not leaves) != instruction.negated
            every = self._sample.every
            frame.history.setdefault(at, []).append((comparison, left[every], right[every], holds_to_stay))

    def _lands(self, at: int) -> int:
        """Return the index at which control arrives, through a plain jump at `at` if there is one."""
        if at >= len(self._program.instructions):
            return at
        instruction = self._program.instructions[at]
        jumps = instruction.opcode.startswith("bra") and not instruction.predicate
        return self._program.labels.get(instruction.operands[0], at) if jumps else at

    def counts(self) -> dict[int, Amount]:
        """Close all loops, and return how often each program has run each instruction, by the instruction's index."""
        while len(self._frames) > 1:
            frame = self._frames[-1]
            if frame.cut is None and frame.iterations == SAMPLED_ITERATIONS:
                self._cut(frame, np.logical_or.reduce([self._active, *frame.again.values()]))
            self._close()
        return {at: _one(count) for at, count in self._frames[0].counts.items()}


def mean(amount: Amount) -> float:
    """Return the mean over the programs."""
    return float(np.mean(amount)) if isinstance(amount, np.ndarray) else amount


def _one(amount: Amount) -> Amount:
    """Return one number instead of equal ones."""
    return float(amount[0]) if isinstance(amount, np.ndarray) and np.all(amount == amount[0]) else amount


def _sum(amounts: list[Amount]) -> Amount:
    total: Amount = 0.0
    for amount in amounts:
        total = total + amount
    return total
