"""Walking through a kernel's address arithmetic: how often each instruction runs and which bytes it asks for.

The integer half of the PTX is executed for a sample of threads (one warp, and one thread of each of many programs of
one wave), with every loop cut short after a few iterations and its trip count worked out from how its bounds move.
Nothing is loaded: what depends on data or on floating point is unknown.  Owns no notion of time.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from kopt.device.arithmetic import COMPARE, FLOATING, Known, Lanes, arithmetic, unsigned_test
from kopt.device.mix import Instruction, Program, access_bytes, kind, loop_ends
from kopt.device.trips import Test, trips_of

SAMPLED_ITERATIONS = 3
STEP_LIMIT = 60_000
PROGRAMS = 1024
POINTER_SHIFT = 44  # an argument's address space: no tensor is larger than 16 TB
UNKNOWN = -1

_ADDRESS = re.compile(r"\[\s*(%?[\w$]+)(?:\s*\+\s*(-?\w+))?")


@dataclass(frozen=True)
class Sample:
    """The threads that are walked."""

    tid: Lanes
    ctaid: tuple[Lanes, Lanes, Lanes]
    grid: tuple[int, int, int]
    threads: int
    warp: slice
    """The lanes of one warp."""
    warps: slice
    """The first thread of every warp of that program."""
    programs: slice
    """The first thread of each of several programs."""


@dataclass
class Site:
    """One global access of the PTX, as the sample saw it the first time."""

    instruction: Instruction
    kind: str
    parameter: int
    """Index of the pointer among the PTX parameters, or UNKNOWN."""
    addresses: Lanes | None
    """Byte address per sampled thread; for TMA a number that stands for the coordinates."""
    active: float
    """Share of the sampled threads whose predicate holds."""
    bytes_per_thread: int
    """For TMA, bytes per program."""
    loop: int
    """Index of the first instruction of the innermost loop around it, UNKNOWN outside loops."""
    step: int = 0
    """How far the address moves from one iteration to the next, bytes."""
    visits: int = 0


@dataclass
class Loop:
    """What became of one loop."""

    head: int
    trips: float | None = None
    """Mean number of iterations per program and entry; None when its bound is not known."""


@dataclass
class Walk:
    """What the walk found; counts are per thread, averaged over the sampled programs."""

    counts: dict[int, float] = field(default_factory=dict)
    """Instruction index to the times that a thread runs it."""
    sites: dict[int, Site] = field(default_factory=dict)
    loops: dict[int, Loop] = field(default_factory=dict)
    complete: bool = True
    """False when the step limit ended the walk."""

    @property
    def unknown_loops(self) -> int:
        """Number of loops whose trip count was not found."""
        return sum(loop.trips is None for loop in self.loops.values())


@dataclass
class _Frame:
    head: int
    end: int
    counts: dict[int, float] = field(default_factory=dict)
    iterations: int = 1
    exit: int | None = None
    history: dict[int, list[Test]] = field(default_factory=dict)


def sample(grid: tuple[int, int, int], threads: int, wave: int) -> Sample:
    """One warp of the middle wave's first program, and one thread of each program of that wave (at most 1024)."""
    total = grid[0] * grid[1] * grid[2]
    start = (total // max(wave, 1)) // 2 * wave if total > wave else 0
    programs = np.arange(start, min(start + min(wave, PROGRAMS), total), dtype=np.int64)
    lanes = min(32, threads)
    inside = np.concatenate([np.arange(lanes), np.arange(0, threads, 32)])
    linear = np.concatenate([np.full(len(inside), programs[0]), programs])
    tid = np.concatenate([inside, np.zeros(len(programs))]).astype(np.int64)
    ctaid = (linear % grid[0], linear // grid[0] % grid[1], linear // (grid[0] * grid[1]))
    parts = (slice(0, lanes), slice(lanes, len(inside)), slice(len(inside), len(linear)))
    return Sample(tid, ctaid, grid, threads, *parts)


class Guess(NamedTuple):
    """What to take for granted where a bound or a test depends on a value that is not known."""

    trips: float = 1.0
    """Iterations of a loop whose bound is not known."""
    jumps: bool = False
    """Whether an undecided branch is taken."""


class _Walker:
    def __init__(self, program: Program, sampled: Sample, scalars: Mapping[int, int], guess: Guess) -> None:
        self.program, self.sample, self.guess = program, sampled, guess
        self.parameters = {name: index for index, (name, _) in enumerate(program.parameters)}
        self.scalars = scalars
        self.registers: dict[str, Known] = {}
        self.tests: dict[str, tuple[str, Lanes, Lanes]] = {}
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
            self.expected_bytes = _integer(instruction.operands[-1]) or 0
        else:
            _execute(self, instruction)
        return at + 1

    # Loops

    def _leave_loops(self, at: int) -> None:
        while len(self.frames) > 1 and not self.frames[-1].head <= at <= self.frames[-1].end:
            self._close()

    def _close(self) -> None:
        frame = self.frames.pop()
        trips = _trips(frame) if frame.iterations >= SAMPLED_ITERATIONS else float(frame.iterations)
        known = self.result.loops.setdefault(frame.head, Loop(frame.head))
        known.trips = trips if trips is not None else known.trips
        factor = (trips if trips is not None else self.guess.trips) / frame.iterations
        outer = self.frames[-1].counts
        for index, count in frame.counts.items():
            outer[index] = outer.get(index, 0.0) + count * factor

    def _branch(self, at: int, instruction: Instruction) -> int:
        target = self.program.labels.get(instruction.operands[0])
        taken = self._taken(instruction)
        if target is None:
            return at + 1
        around = [f for f in reversed(self.frames[1:]) if f.head <= at <= f.end]
        if around and instruction.predicate:
            self._remember(around[0], at, instruction, target)
        repeated = next((f for f in around if f.head == target), None)
        if repeated and (taken or self._undecided(instruction)):
            return self._again(repeated, at, instruction, target)
        return target if taken else at + 1

    def _again(self, frame: _Frame, at: int, instruction: Instruction, target: int) -> int:
        if frame.iterations < SAMPLED_ITERATIONS:
            frame.iterations += 1
            while self.frames[-1] is not frame:
                self._close()
            return target
        if frame.exit is not None:
            return frame.exit
        return at + 1 if instruction.predicate else frame.end + 1

    def _remember(self, frame: _Frame, at: int, instruction: Instruction, target: int) -> None:
        """Keep the test of a branch that can end the loop: by jumping out of it, or by not jumping and dropping out."""
        after = self._lands(at + 1)
        leaves, drops_out = not frame.head <= target <= frame.end, not frame.head <= after <= frame.end
        if not leaves and not drops_out:
            return
        frame.exit = target if leaves else after
        if test := self.tests.get(instruction.predicate):
            comparison, left, right = test
            holds_to_stay = (not leaves) != instruction.negated
            programs = self.sample.programs
            frame.history.setdefault(at, []).append((comparison, left[programs], right[programs], holds_to_stay))

    def _lands(self, at: int) -> int:
        """Where control goes from an instruction that may be a plain jump."""
        if at >= len(self.program.instructions):
            return at
        one = self.program.instructions[at]
        jumps = one.opcode.startswith("bra") and not one.predicate
        return self.program.labels.get(one.operands[0], at) if jumps else at

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
            self.registers[register] = None

    def _thread_access(self, at: int, instruction: Instruction, name: str) -> None:
        operand = next((o for o in reversed(instruction.operands) if o.startswith("[") and "%" in o), "")
        size = _integer(instruction.operands[2]) if name == "cp_async" else access_bytes(instruction.opcode)
        address = self.address(operand)
        self._record(at, instruction, name, address, size or 4)

    def _tensor_access(self, at: int, instruction: Instruction, name: str) -> None:
        coordinates = [self.registers.get(r) for o in instruction.operands for r in _braced(o)]
        known = [c for c in coordinates if c is not None]
        key = sum((c * (1 << (20 * i)) for i, c in enumerate(known)), np.zeros_like(self.sample.tid)) if known else None
        self._record(at, instruction, name, key, self._tensor_bytes(at))

    def _tensor_bytes(self, at: int) -> int:
        """Bytes of one TMA load: what the barrier expects, shared among the loads that follow it."""
        following = 0
        for one in self.program.instructions[at:]:
            if "expect_tx" in one.opcode:
                break
            following += kind(one.opcode) == "tma_load"
        before = 0
        for one in reversed(self.program.instructions[:at]):
            if "expect_tx" in one.opcode:
                break
            before += kind(one.opcode) == "tma_load"
        return self.expected_bytes // max(following + before, 1)

    def _record(self, at: int, instruction: Instruction, name: str, address: Known, size: int) -> None:
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
        value = self.registers.get(instruction.predicate) if instruction.predicate else None
        if value is None:
            return 1.0
        holds = (value != 0) != instruction.negated
        return float((np.mean(holds[self.sample.warp]) + np.mean(holds[self.sample.programs])) / 2)

    def address(self, operand: str) -> Known:
        """Value of a `[register + offset]` operand."""
        match = _ADDRESS.match(operand)
        base = self.value(match[1]) if match else None
        if match is None or base is None:
            return None
        return base + (_integer(match[2]) or 0) if match[2] else base

    def value(self, operand: str) -> Known:
        """Value of a register, special register or literal for every sampled thread; None when unknown."""
        if operand.startswith("%"):
            special = self._special(operand)
            return special if special is not None else self.registers.get(operand)
        literal = _integer(operand)
        return None if literal is None else np.full_like(self.sample.tid, literal)

    def _special(self, name: str) -> Known:
        base, _, axis = name.partition(".")
        at = "xyz".find(axis) if axis else 0
        if base == "%tid":
            return self.sample.tid if at == 0 else np.zeros_like(self.sample.tid)
        if base == "%ctaid":
            return self.sample.ctaid[at]
        if base == "%nctaid":
            return np.full_like(self.sample.tid, self.sample.grid[at])
        if base == "%ntid":
            return np.full_like(self.sample.tid, self.sample.threads if at == 0 else 1)
        if base == "%laneid":
            return self.sample.tid % 32
        return None

    def parameter(self, operand: str) -> Known:
        """Value of a kernel parameter: a scalar that is known, or an address of its own for a pointer."""
        name = operand.strip("[] ").split("+")[0]
        index = self.parameters.get(name)
        if index is None:
            return None
        if index in self.scalars:
            return np.full_like(self.sample.tid, self.scalars[index])
        if self.program.parameters[index][1] == "u64" or self.program.parameters[index][1] == "b8":
            return np.full_like(self.sample.tid, (index + 1) << POINTER_SHIFT)
        return None


def _trips(frame: _Frame) -> float | None:
    found = [trips for history in frame.history.values() if (trips := trips_of(history)) is not None]
    return min(found) if found else None


def _parameter(address: Known, name: str) -> int:
    if address is None or name in ("tma_load", "tma_store"):
        return UNKNOWN
    index = int(address[0] + (1 << (POINTER_SHIFT - 1))) >> POINTER_SHIFT
    return index - 1 if index > 0 else UNKNOWN


def _braced(operand: str) -> list[str]:
    inner = re.search(r"\{([^}]*)\}", operand)
    return re.findall(r"%\w+", inner[1]) if inner else []


def _integer(text: str) -> int | None:
    try:
        return int(text, 0)
    except ValueError:
        return None


def walk(program: Program, sampled: Sample, scalars: Mapping[int, int], guess: Guess | None = None) -> Walk:
    """Walk a kernel with the values of its scalar parameters, by index; a missing one is unknown and guessed around."""
    return _Walker(program, sampled, scalars, guess or Guess()).run()


def _execute(walker: _Walker, instruction: Instruction) -> None:
    operands = instruction.operands
    if not operands or not operands[0].startswith("%"):
        if operands and operands[0].startswith("{"):
            for register in re.findall(r"%\w+", operands[0]):
                walker.registers[register] = None
        return
    target = operands[0].split("|")[0]
    head = instruction.opcode.split(".")[0]
    if head == "setp":
        return _test(walker, instruction, target)
    value = None if FLOATING.search(instruction.opcode) else _result(walker, instruction, head)
    if instruction.predicate and value is not None:
        value = _guarded(walker, instruction, target, value)
    walker.registers[target] = value
    walker.tests.pop(target, None)


def _guarded(walker: _Walker, instruction: Instruction, target: str, value: Lanes) -> Known:
    guard, old = walker.registers.get(instruction.predicate), walker.registers.get(target)
    if guard is None or old is None:
        return value
    return np.where((guard != 0) != instruction.negated, value, old)


def _test(walker: _Walker, instruction: Instruction, target: str) -> None:
    left, right = (walker.value(operand) for operand in instruction.operands[1:3])
    walker.tests.pop(target, None)
    walker.registers[target] = None
    compare = COMPARE.get(instruction.opcode.split(".")[1])
    if left is None or right is None or compare is None or FLOATING.search(instruction.opcode):
        return
    left, right = unsigned_test(instruction.opcode, left), unsigned_test(instruction.opcode, right)
    walker.registers[target] = compare(left, right).astype(np.int64)
    walker.tests[target] = (instruction.opcode, left, right)


def _result(walker: _Walker, instruction: Instruction, head: str) -> Known:
    opcode, operands = instruction.opcode, instruction.operands
    if opcode.startswith("ld.param"):
        return walker.parameter(operands[1])
    if head in ("mov", "cvta", "shfl"):
        return walker.value(operands[1])
    values = [walker.value(operand) for operand in operands[1:]]
    known = [value for value in values if value is not None]
    if len(known) < len(values) or not known:
        return None
    return arithmetic(opcode, head, known)
