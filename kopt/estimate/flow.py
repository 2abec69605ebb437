"""Follow the control flow of many programs at once, each by its own branches.

Of programs that a branch parts, those go on first whose instruction comes first, and the others wait, so that all meet
again behind it.  A loop is cut short after a few iterations; its trip count follows for each program
from how its bounds move.  `kopt.estimate.walk` follows what instructions do.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from kopt.estimate.arithmetic import MaybeLanes
from kopt.estimate.blocks import control_flow, jump_target
from kopt.estimate.instructions import Instruction, PtxProgram
from kopt.estimate.registers import Mask, Registers, Sample
from kopt.estimate.trip_counts import Test, trip_count

SAMPLED_ITERATIONS = 3
"""Iterations after which a loop is cut short."""
FURTHER_ITERATIONS = 16
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
    """Index of the instruction at which iterations begin; UNKNOWN for the whole kernel."""
    inside: Collection[int]
    """Indexes of its instructions."""
    counts: dict[int, Amount] = field(default_factory=dict)
    passes: Amount = 1.0
    """Iterations of each program so far."""
    iterations: int = 1
    exit: int | None = None
    """Index of the instruction at which programs leave the loop."""
    history: dict[int, list[Test]] = field(default_factory=dict)
    """The tests of each branch that can end the loop, one for each iteration, by index of the branch."""
    decisions: dict[int, list[Test]] = field(default_factory=dict)
    """The tests of each other branch of the loop, and of those of inner loops in their first iteration, likewise."""
    again: Mask | None = None
    """Programs that wait for the next iteration."""
    totals: list[Amount] = field(default_factory=list)
    """Instructions of each program at the end of each iteration."""
    states: list[dict[str, MaybeLanes]] = field(default_factory=list)
    """Registers at the end of each iteration."""
    cut: Mask | None = None
    """Programs that were in the loop when it was cut short."""
    trips: npt.NDArray[np.float64] | None = None
    """Iterations of the programs that were cut short; None where they are not known."""
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
        self._code = control_flow(program)
        self._frames = [_Frame(UNKNOWN, range(len(program.instructions) + 1))]
        self._waiting: dict[int, Mask] = {}
        first = sampled.every.start
        self._grid = slice(sampled.grid_programs.start - first, sampled.grid_programs.stop - first)
        self.around = self._code.around
        """The loops around each instruction, from the outermost, by the index of their first instruction."""
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
        while at not in self._frames[-1].inside:
            self._close()
        for head in self._code.around[at][len(self._frames) - 1 :]:
            self._frames.append(_Frame(head, self._code.loops[head], passes=self._amount))
        self._frames[-1].add(at, self._amount)

    def leave(self, at: int, instruction: Instruction) -> int | None:
        """Return the index of the instruction after one that ends programs; None where all have ended."""
        ending = self._holding(instruction)
        staying = self._active & ~ending if ending is not None else self._active
        if not staying.any():
            return self._next()
        self._go(staying)
        return self.after(at)

    def after(self, at: int) -> int | None:
        """Return the index of the instruction after one that is no branch; None where all programs have ended."""
        if at + 1 not in self._code.loops or at not in self._code.loops[at + 1]:
            return at + 1
        self._send(at, at + 1, self._active)
        return self._next()

    def branch(self, at: int, instruction: Instruction) -> int | None:
        """Return the index of the instruction after a branch; None where all programs have ended."""
        target = jump_target(self._program, at)
        if target is None:
            return self.after(at)
        around = [frame for frame in reversed(self._frames[1:]) if at in frame.inside]
        if around and instruction.predicate:
            self._remember(around, at, instruction, target)
        jumping = self._holding(instruction)
        if jumping is None:
            repeats = any(frame.head == target for frame in around)
            jumps = repeats or (self._guess_jumps and instruction.operands[0].startswith("$"))
            jumping = self._active if jumps else np.zeros_like(self._active)
        self._send(at, target, jumping)
        self._send(at, at + 1, self._active & ~jumping)
        return self._next()

    def _send(self, at: int, target: int, programs: Mask) -> None:
        """Let programs wait at the instruction after one, or for the next iteration of the loop that begins there."""
        if not programs.any():
            return
        repeated = next((f for f in reversed(self._frames[1:]) if f.head == target and at in f.inside), None)
        if repeated is None:
            self._waiting[target] = programs | self._waiting.get(target, False)
        else:
            repeated.again = programs if repeated.again is None else programs | repeated.again
            if repeated.exit is None:
                repeated.exit = at + 1 if at + 1 not in repeated.inside else max(repeated.inside) + 1

    def _holding(self, instruction: Instruction) -> Mask | None:
        """Return which of the programs that execute do what an instruction says; None where that is not known."""
        if not instruction.predicate:
            return self._active
        value = self._registers.get(instruction.predicate)
        if value is None:
            return None
        holds: Mask = (value[self._sample.every] != 0) != instruction.negated
        return self._active & holds

    def _next(self) -> int | None:
        """Let those programs execute that wait at the first place of the innermost loop; return the place."""
        while True:
            frame = self._frames[-1]
            here = [at for at in self._waiting if at in frame.inside]
            if here:
                first = min(here, key=self._place)
                self._go(self._waiting.pop(first))
                return first
            if frame.again is not None or frame.further:
                self._again(frame)
            elif len(self._frames) > 1:
                self._close()
            else:
                return None

    def _place(self, at: int) -> int:
        return self._code.order[at] if at < len(self._code.order) else len(self._code.order) ** 2 * 2

    # Loops

    def _again(self, frame: _Frame) -> None:
        """Begin the next iteration of a loop, or leave it after some."""
        programs, frame.again = frame.again, None
        if frame.cut is None:
            assert programs is not None
            frame.totals.append(_sum(list(frame.counts.values())))
            frame.states.append(self._registers.state())
            if frame.iterations < SAMPLED_ITERATIONS:
                frame.iterations += 1
                frame.passes = frame.passes + self._amount_of(programs)
                self._waiting[frame.head] = programs
                return
            self._cut(frame, programs)
            if frame.trips is not None and self._is_uneven(frame):
                frame.further, frame.is_sampled = FURTHER_ITERATIONS, True
        assert frame.cut is not None
        waiting = {at: programs & ~frame.cut for at, programs in self._waiting.items()}
        self._waiting = {at: programs for at, programs in waiting.items() if programs.any()}
        if frame.further:
            self._further(frame)
        else:
            assert frame.exit is not None
            self._waiting[frame.exit] = frame.cut | self._waiting.get(frame.exit, False)

    def _cut(self, frame: _Frame, programs: Mask) -> None:
        """Cut a loop short for the programs that are in it; find out how often they run it."""
        frame.cut = programs
        known = [trips for history in frame.history.values() if (trips := trip_count(history)) is not None]
        trips = np.minimum.reduce(known) if known else None
        if trips is not None and np.isfinite(trips[self._grid][programs[self._grid]]).all():
            frame.trips = np.where(programs & np.isfinite(trips), trips, float(SAMPLED_ITERATIONS))

    def _is_uneven(self, frame: _Frame) -> bool:
        """Return whether programs that are cut short do not run the same instructions in every iteration.

        They have run unequal numbers so far, or a branch will be decided otherwise before they end.
        """
        assert frame.cut is not None
        assert frame.trips is not None
        cut = frame.cut[self._grid]
        totals = [np.broadcast_to(total, cut.shape) for total in (0.0, *frame.totals)]
        each = np.diff(np.stack(totals), axis=0)[:, cut]
        if each.size and np.any(np.abs(each - each[0]) > 0.5):
            return True
        trips = frame.trips[self._grid]
        changes = (_change(tests) for tests in frame.decisions.values() if len(tests) == SAMPLED_ITERATIONS)
        return any(np.any((change[self._grid] < trips) & cut) for change in changes if change is not None)

    def _further(self, frame: _Frame) -> None:
        """Begin an iteration from the rest of a loop, for each program as far on in its own rest."""
        assert frame.cut is not None
        assert frame.trips is not None
        frame.further -= 1
        rest = np.where(frame.cut, np.maximum(frame.trips - SAMPLED_ITERATIONS, 0.0), 0.0)
        steps = np.floor(rest * (1 - (frame.further + 0.5) / FURTHER_ITERATIONS)).astype(np.int64)
        self._registers.move(frame.states, self._threads(steps))
        frame.weight = rest[self._grid] / FURTHER_ITERATIONS
        frame.passes = frame.passes + frame.weight
        self._waiting[frame.head] = rest > 0

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

    def _remember(self, around: list[_Frame], at: int, instruction: Instruction, target: int) -> None:
        """Keep the test of a branch, which may end the loop by jumping out of it or by not jumping back.

        For the loop around the innermost one it is a decision: whether the innermost one has a second iteration.
        """
        frame = around[0]
        after = self._lands(at + 1)
        leaves, drops_out = target not in frame.inside, after not in frame.inside
        if frame.cut is not None:
            return
        ends = leaves or drops_out
        if ends:
            frame.exit = target if leaves else after
        if test := self._registers.tests.get(instruction.predicate):
            comparison, left, right = test
            holds_to_stay = (not leaves) != instruction.negated
            kept = (comparison, left[self._sample.every], right[self._sample.every], holds_to_stay)
            (frame.history if ends else frame.decisions).setdefault(at, []).append(kept)
            if frame.iterations == 1 and len(around) > 1 and around[1].cut is None:
                around[1].decisions.setdefault(at, []).append(kept)

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
                self._cut(frame, self._active if frame.again is None else self._active | frame.again)
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


def _change(tests: list[Test]) -> npt.NDArray[np.float64] | None:
    """Return the iterations after which a test comes out otherwise than at first, per program; None where not known."""
    as_it_is = [trip_count([(*test[:3], stay) for test in tests]) for stay in (True, False)]
    known = [counts for counts in as_it_is if counts is not None]
    return np.maximum.reduce(known) if known else None
