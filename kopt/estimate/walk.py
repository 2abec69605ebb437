"""Walk through a kernel's address arithmetic: how often each instruction runs, and which bytes it asks for.

The integer half of the PTX is executed for a sample of threads (one warp, and one thread of each of many programs of
one wave).  Every loop is cut short after a few iterations, and its trip count worked out from how its bounds move.
`kopt.estimate.registers` holds the values of registers.  Time is no business of this module.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from kopt.estimate.arithmetic import Lanes, MaybeLanes
from kopt.estimate.instructions import Instruction, PtxProgram, access_bytes, kind, loop_ends
from kopt.estimate.registers import POINTER_SHIFT, Registers, Sample, integer
from kopt.estimate.trip_counts import Test, Trips, trip_count

SAMPLED_ITERATIONS = 3
"""Iterations after which a loop is cut short."""
STEP_LIMIT = 60_000
"""Instructions after which a walk is cut short."""
UNKNOWN = -1
"""Index of an unknown pointer, or of no loop."""


@dataclass
class Site:
    """One access to global memory in the PTX, as the sampled threads make it the first time."""

    instruction: Instruction
    kind: str
    parameter: int
    """Index of the pointer among the PTX parameters, or UNKNOWN."""
    addresses: Lanes | None
    """Byte address per sampled thread; for TMA a number made of the coordinates; None when not known."""
    active: float
    """Share of the sampled threads whose predicate holds, 0 to 1."""
    bytes_per_thread: int
    """Bytes that a thread moves; for TMA, bytes per program."""
    loop: int
    """Index of the first instruction of the innermost loop around the access; UNKNOWN outside loops."""
    step: int = 0
    """Distance that the address moves from one iteration to the next, bytes."""
    visits: int = 0
    """Times that the walk came here."""


@dataclass
class Loop:
    """One loop of the PTX."""

    head: int
    """Index of its first instruction."""
    trips: float | None = None
    """Mean number of iterations per program and entry; None when its bound is not known."""
    longest: float = 1.0
    """Iterations of the program with the most, over the mean."""


@dataclass
class Walk:
    """The result of a walk; counts are per thread, averaged over the sampled programs."""

    counts: dict[int, float] = field(default_factory=dict)
    """Times that a thread runs an instruction, by the instruction's index."""
    sites: dict[int, Site] = field(default_factory=dict)
    """Accesses to global memory by instruction index."""
    loops: dict[int, Loop] = field(default_factory=dict)
    """Loops by the index of their first instruction."""
    complete: bool = True
    """False when the step limit ended the walk."""

    @property
    def longest(self) -> float:
        """Work of the program with the most iterations over the mean program's: tiles may not divide evenly."""
        return max((loop.longest for loop in self.loops.values()), default=1.0)

    @property
    def unknown_loops(self) -> int:
        """Number of loops whose trip count is not known."""
        return sum(loop.trips is None for loop in self.loops.values())


@dataclass
class _Frame:
    """A loop that the walk is in; the outermost frame is the whole kernel."""

    head: int
    end: int
    counts: dict[int, float] = field(default_factory=dict)
    iterations: int = 1
    exit: int | None = None
    """Index of the instruction at which the walk leaves the loop."""
    history: dict[int, list[Test]] = field(default_factory=dict)
    """The tests of each branch that can end the loop, one for each iteration, by index of the branch."""


class Guess(NamedTuple):
    """Assumptions where a loop's bound or a branch depends on a value that is not known."""

    trips: float = 1.0
    """Iterations of a loop whose bound is not known."""
    jumps: bool = False
    """Whether an undecided branch is taken."""


class _Walker:
    """The state of one walk."""

    def __init__(
        self, program: PtxProgram, sampled: Sample, scalars: Mapping[int, int], guess: Guess,
        contents: Mapping[int, int],
    ) -> None:  # fmt: skip
        self.contents = contents
        self.program, self.sample, self.guess = program, sampled, guess
        self.registers = Registers(program, sampled, scalars)
        self.result = Walk()
        self.ends = loop_ends(program)
        self.frames = [_Frame(UNKNOWN, len(program.instructions))]
        self.expected_bytes = 0

    def run(self) -> Walk:
        at, steps = 0, 0
        instructions = self.program.instructions
        while at < len(instructions) and steps < STEP_LIMIT:
            self._leave_loops(at)
            if at in self.ends and self.frames[-1].head != at:
                self.frames.append(_Frame(at, self.ends[at]))
            instruction = instructions[at]
            self.frames[-1].counts[at] = self.frames[-1].counts.get(at, 0.0) + 1.0
            steps += 1
            if instruction.opcode in ("ret", "exit") and not instruction.predicate:
                break
            at = self._branch(at, instruction) if instruction.opcode.startswith("bra") else self._plain(at, instruction)
        self.result.complete = steps < STEP_LIMIT
        while len(self.frames) > 1:
            self._close()
        self.result.counts = self.frames[0].counts
        return self.result

    def _plain(self, at: int, instruction: Instruction) -> int:
        if ".global" in instruction.opcode:
            self._access(at, instruction)
        elif "expect_tx" in instruction.opcode:
            self.expected_bytes = integer(instruction.operands[-1]) or 0
        else:
            self.registers.execute(instruction)
        return at + 1

    # Loops

    def _leave_loops(self, at: int) -> None:
        while len(self.frames) > 1 and not self.frames[-1].head <= at <= self.frames[-1].end:
            self._close()

    def _close(self) -> None:
        """Leave the innermost loop: multiply its counts by its trip count and add them to the loop around it."""
        frame = self.frames.pop()
        whole = float(frame.iterations)
        trips = _trips(frame) if frame.iterations >= SAMPLED_ITERATIONS else Trips(whole, whole)
        loop = self.result.loops.setdefault(frame.head, Loop(frame.head))
        if trips is not None:
            loop.trips, loop.longest = trips.mean, trips.most / trips.mean
        factor = (trips.mean if trips is not None else self.guess.trips) / frame.iterations
        outer = self.frames[-1].counts
        for index, count in frame.counts.items():
            outer[index] = outer.get(index, 0.0) + count * factor

    def _branch(self, at: int, instruction: Instruction) -> int:
        """Return the index of the instruction after a branch."""
        target = self.program.labels.get(instruction.operands[0])
        taken = self._taken(instruction)
        if target is None:
            return at + 1
        around = [f for f in reversed(self.frames[1:]) if f.head <= at <= f.end]
        if around and instruction.predicate:
            self._remember(around[0], at, instruction, target)
        repeated = next((f for f in around if f.head == target), None)
        if repeated is None and target <= at and instruction.operands[0].startswith("$"):
            repeated = next((f for f in around if f.head <= target), None)  # a loop with two ways back
        if repeated and (taken or self._undecided(instruction)):
            return self._again(repeated, at, instruction, target)
        return target if taken else at + 1

    def _again(self, frame: _Frame, at: int, instruction: Instruction, target: int) -> int:
        """Return the index after a branch back to a loop's head: the head, or behind the loop after some iterations."""
        if frame.iterations < SAMPLED_ITERATIONS:
            frame.iterations += 1
            while self.frames[-1] is not frame:
                self._close()
            return target
        if frame.exit is not None:
            return frame.exit
        return at + 1 if instruction.predicate else frame.end + 1

    def _remember(self, frame: _Frame, at: int, instruction: Instruction, target: int) -> None:
        """Keep the test of a branch that can end the loop, by jumping out of it or by not jumping back."""
        after = self._lands(at + 1)
        leaves, drops_out = not frame.head <= target <= frame.end, not frame.head <= after <= frame.end
        if not leaves and not drops_out:
            return
        frame.exit = target if leaves else after
        if test := self.registers.tests.get(instruction.predicate):
            comparison, left, right = test
            holds_to_stay = (not leaves) != instruction.negated
            programs = self.sample.programs
            frame.history.setdefault(at, []).append((comparison, left[programs], right[programs], holds_to_stay))

    def _lands(self, at: int) -> int:
        """Return the index at which control arrives, through a plain jump at `at` if there is one."""
        if at >= len(self.program.instructions):
            return at
        instruction = self.program.instructions[at]
        jumps = instruction.opcode.startswith("bra") and not instruction.predicate
        return self.program.labels.get(instruction.operands[0], at) if jumps else at

    def _undecided(self, instruction: Instruction) -> bool:
        return bool(instruction.predicate) and self.registers.get(instruction.predicate) is None

    def _taken(self, instruction: Instruction) -> bool:
        if not instruction.predicate:
            return True
        value = self.registers.get(instruction.predicate)
        if value is None:
            return self.guess.jumps and instruction.operands[0].startswith("$")
        share = float(np.mean(value[self.sample.programs] != 0))
        return (share > 0.5) != instruction.negated

    # Global memory

    def _access(self, at: int, instruction: Instruction) -> None:
        name = kind(instruction.opcode)
        if name in ("tma_load", "tma_store"):
            self._tensor_access(at, instruction, name)
        elif instruction.opcode.startswith(("ld.global", "st.global", "cp.async.c", "atom", "red")):
            self._thread_access(at, instruction, name)
        for register in (
            re.findall(r"%[\w]+", instruction.operands[0]) if instruction.opcode[:2] in ("ld", "at") else ()
        ):
            self.registers.forget(register)
        if instruction.opcode.startswith("ld.global") and self.contents:
            self._load_known(at, instruction)

    def _load_known(self, at: int, instruction: Instruction) -> None:
        """Set what a load gives where one known value fills the whole memory behind its parameter."""
        site = self.result.sites.get(at)
        if site is not None and (value := self.contents.get(site.parameter)) is not None:
            for register in re.findall(r"%[\w]+", instruction.operands[0]):
                self.registers.set(register, value)

    def _thread_access(self, at: int, instruction: Instruction, name: str) -> None:
        operand = next((o for o in reversed(instruction.operands) if o.startswith("[") and "%" in o), "")
        size = integer(instruction.operands[2]) if name == "cp_async" else access_bytes(instruction.opcode)
        address = self.registers.address(operand)
        self._record(at, instruction, name, address, size or 4)

    def _tensor_access(self, at: int, instruction: Instruction, name: str) -> None:
        coordinates = [self.registers.get(r) for o in instruction.operands for r in _braced(o)]
        lanes = [coordinate for coordinate in coordinates if coordinate is not None]
        key = sum((c * (1 << (20 * i)) for i, c in enumerate(lanes)), np.zeros_like(self.sample.tid)) if lanes else None
        self._record(at, instruction, name, key, self._tensor_bytes(at))

    def _tensor_bytes(self, at: int) -> int:
        """Return the bytes of one TMA load: those that its barrier expects, over the loads between barriers."""
        following = 0
        for instruction in self.program.instructions[at:]:
            if "expect_tx" in instruction.opcode:
                break
            following += kind(instruction.opcode) == "tma_load"
        before = 0
        for instruction in reversed(self.program.instructions[:at]):
            if "expect_tx" in instruction.opcode:
                break
            before += kind(instruction.opcode) == "tma_load"
        return self.expected_bytes // max(following + before, 1)

    def _record(self, at: int, instruction: Instruction, name: str, address: MaybeLanes, size: int) -> None:
        site = self.result.sites.get(at)
        if site is None:
            loop = self.frames[-1].head
            active = self._active(instruction)
            site = Site(instruction, name, _parameter(address, name), address, active, size, loop)
            self.result.sites[at] = site
        elif site.visits == 1 and site.addresses is not None and address is not None:
            site.step = int(abs(address[0] - site.addresses[0]))
        site.visits += 1
        site.loop = max(site.loop, self.frames[-1].head)

    def _active(self, instruction: Instruction) -> float:
        """Return the share of sampled threads whose predicate holds: the mean of the warp's and the programs'."""
        value = self.registers.get(instruction.predicate) if instruction.predicate else None
        if value is None:
            return 1.0
        holds = (value != 0) != instruction.negated
        return float((np.mean(holds[self.sample.warp]) + np.mean(holds[self.sample.programs])) / 2)


def _trips(frame: _Frame) -> Trips | None:
    """Return the trip count of a loop: the least that one of its tests allows; None when no test bounds it."""
    counts = [trips for history in frame.history.values() if (trips := trip_count(history)) is not None]
    return min(counts, default=None)


def _parameter(address: MaybeLanes, name: str) -> int:
    """Return the index of the pointer parameter that an address is based on; UNKNOWN when it is not known."""
    if address is None or name in ("tma_load", "tma_store"):
        return UNKNOWN
    index = int(address[0] + (1 << (POINTER_SHIFT - 1))) >> POINTER_SHIFT
    return index - 1 if index > 0 else UNKNOWN


def _braced(operand: str) -> list[str]:
    """Return the registers in braces: the coordinates of a TMA access."""
    inner = re.search(r"\{([^}]*)\}", operand)
    return re.findall(r"%\w+", inner[1]) if inner else []


def walk(
    program: PtxProgram, sampled: Sample, scalars: Mapping[int, int], guess: Guess | None = None,
    contents: Mapping[int, int] | None = None,
) -> Walk:  # fmt: skip
    """Walk through a kernel.

    Args:
        program: the kernel's code.
        sampled: the threads to follow.
        scalars: values of scalar parameters by index; a missing one is unknown.
        guess: assumptions about unknown trip counts and values.
        contents: the one value that fills the memory behind a pointer parameter, by its index, where it is known.
    """
    return _Walker(program, sampled, scalars, guess or Guess(), contents or {}).run()
