"""Follow the integer registers of a kernel for a sample of its threads, instruction by instruction.

Values that are loaded or that depend on floating point are unknown.  `kopt.estimate.walk` follows the control flow.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from kopt.estimate.arithmetic import FLOATING, Lanes, MaybeLanes, arithmetic, comparison, moved, packed, unpacked
from kopt.estimate.instructions import Instruction, PtxProgram

Mask = npt.NDArray[np.bool_]
"""Which of some threads or programs."""

PROGRAMS = 1024
"""Most programs of a wave that are sampled, and most of the whole grid."""
GOLDEN = (5**0.5 - 1) / 2
"""Golden ratio: its multiples, without their whole parts, are spread evenly."""
POINTER_SHIFT = 44
"""Bits of the address space that each pointer argument gets: no tensor is larger than 16 TB."""

ADDRESS = re.compile(r"\[\s*(%?[\w$]+)(?:\s*\+\s*(-?\w+))?")
"""An operand of the form `[register + offset]`."""


@dataclass(frozen=True)
class Sample:
    """The threads whose registers are followed; each is one position of every `Lanes`."""

    tid: Lanes
    """Index of each thread in its block."""
    ctaid: tuple[Lanes, Lanes, Lanes]
    """Index of each thread's block in the grid."""
    grid: tuple[int, int, int]
    threads: int
    """Threads of a block."""
    warp: slice
    """Positions of the lanes of one warp."""
    warps: slice
    """Positions of the first thread of every warp of that warp's program."""
    programs: slice
    """Positions of the first thread of each of several programs that run at the same time."""
    grid_programs: slice
    """Positions of the first thread of programs from all over the grid, in ascending order: their work is counted."""
    every: slice
    """Positions of all these first threads."""
    own: int
    """Position of the first thread of the program whose warp is sampled."""


def sample(grid: tuple[int, int, int], threads: int, wave: int) -> Sample:
    """Sample one warp, one thread of each program of one wave, and one of programs from all over the grid.

    The warp is the first of the middle program of the middle wave, which is the wave.

    Args:
        grid: blocks of the launch.
        threads: threads of a block.
        wave: blocks that the device holds at once; at most `PROGRAMS` of them are sampled.
    """
    total = grid[0] * grid[1] * grid[2]
    start = (total // max(wave, 1)) // 2 * wave if total > wave else 0
    together = np.arange(start, min(start + min(wave, PROGRAMS), total), dtype=np.int64)
    if total <= PROGRAMS:
        programs = np.arange(total, dtype=np.int64)
        wave_at, grid_at = slice(start, start + len(together)), slice(0, total)
    else:
        programs = np.concatenate([together, _spread(total)])
        wave_at, grid_at = slice(0, len(together)), slice(len(together), len(programs))
    lanes = min(32, threads)
    inside = np.concatenate([np.arange(lanes), np.arange(0, threads, 32)])
    own = wave_at.start + len(together) // 2
    linear = np.concatenate([np.full(len(inside), programs[own]), programs])
    tid = np.concatenate([inside, np.zeros(len(programs))]).astype(np.int64)
    ctaid = (linear % grid[0], linear // grid[0] % grid[1], linear // (grid[0] * grid[1]))

    def behind(part: slice) -> slice:
        return slice(part.start + len(inside), part.stop + len(inside))

    return Sample(
        tid, ctaid, grid, threads, warp=slice(0, lanes), warps=slice(lanes, len(inside)), programs=behind(wave_at),
        grid_programs=behind(grid_at), every=slice(len(inside), len(linear)), own=own + len(inside),
    )  # fmt: skip


def _spread(total: int) -> Lanes:
    """Return `PROGRAMS` indexes of programs, one of each of as many equal ranges: the first, the last, and others.

    A program's place in its range moves by the golden ratio, so that the indexes have no period of their own.
    """
    ranges = np.arange(PROGRAMS)
    chosen = ((ranges + ranges * GOLDEN % 1.0) * total / PROGRAMS).astype(np.int64)
    chosen[-1] = total - 1
    return chosen


class Registers:
    """The values of all registers, one per sampled thread, or unknown."""

    def __init__(self, program: PtxProgram, sampled: Sample, scalars: Mapping[int, int]) -> None:
        """Start with no register known.

        Args:
            program: the kernel's code.
            sampled: the threads.
            scalars: values of scalar parameters, by index.
        """
        self._program, self._sample, self._scalars = program, sampled, scalars
        self._parameters = {name: index for index, (name, _) in enumerate(program.parameters)}
        self._values: dict[str, MaybeLanes] = {}
        self.active: Mask | None = None
        """Threads that execute; None where all do.  Others keep the values that they have."""
        self.tests: dict[str, tuple[str, Lanes, Lanes]] = {}
        """The comparison that set each predicate register, by register: opcode and both sides."""

    def get(self, name: str) -> MaybeLanes:
        """Return the values of a register."""
        return self._values.get(name)

    def forget(self, name: str) -> None:
        """Mark the values of a register as unknown."""
        self._put(name, None)

    def set(self, name: str, value: int) -> None:
        """Give a register one value in all threads that execute."""
        self._put(name, np.full_like(self._sample.tid, value))

    def _put(self, name: str, value: MaybeLanes) -> None:
        """Set the values of a register in the threads that execute.

        A register that was not known gets the value in all threads: its addresses show what others would access.  One
        that was known remains so where most threads do not execute.
        """
        old = self._values.get(name)
        if self.active is None or old is None:
            self._values[name] = value
        elif value is not None:
            self._values[name] = np.where(self.active, value, old)
        elif 2 * np.count_nonzero(self.active[self._sample.every]) > len(self.active[self._sample.every]):
            self._values[name] = None

    def state(self) -> dict[str, MaybeLanes]:
        """Return the values of all registers as they are now."""
        return dict(self._values)

    def move(self, states: Sequence[dict[str, MaybeLanes]], steps: Lanes) -> None:
        """Move the registers on that moved by equal steps between three states, from the last of these.

        Args:
            states: the states.
            steps: how many further steps, per thread.
        """
        first, second, last = states
        for name, value in last.items():
            before, earlier = second.get(name), first.get(name)
            self._values[name] = value
            if value is None or before is None or earlier is None or value is before:
                continue
            step = value - before
            if np.array_equal(step, before - earlier):
                self._values[name] = value + step * steps

    def address(self, operand: str) -> MaybeLanes:
        """Return the values of a `[register + offset]` operand."""
        match = ADDRESS.match(operand)
        base = self.value(match[1]) if match else None
        if match is None or base is None:
            return None
        return base + (integer(match[2]) or 0) if match[2] else base

    def value(self, operand: str) -> MaybeLanes:
        """Return the values of a register, special register or literal; None when unknown."""
        if operand.startswith("%"):
            special = self._special(operand)
            return special if special is not None else self._values.get(operand)
        literal = integer(operand)
        return None if literal is None else np.full_like(self._sample.tid, literal)

    def _special(self, name: str) -> MaybeLanes:
        base, _, axis = name.partition(".")
        at = "xyz".find(axis) if axis else 0
        if base == "%tid":
            return self._sample.tid if at == 0 else np.zeros_like(self._sample.tid)
        if base == "%ctaid":
            return self._sample.ctaid[at]
        if base == "%nctaid":
            return np.full_like(self._sample.tid, self._sample.grid[at])
        if base == "%ntid":
            return np.full_like(self._sample.tid, self._sample.threads if at == 0 else 1)
        if base == "%laneid":
            return self._sample.tid % 32
        return None

    def _parameter(self, operand: str) -> MaybeLanes:
        """Return the values of a kernel parameter: a known scalar, or a made-up address for a pointer."""
        name = operand.strip("[] ").split("+")[0]
        index = self._parameters.get(name)
        if index is None:
            return None
        if index in self._scalars:
            return np.full_like(self._sample.tid, self._scalars[index])
        if self._program.parameters[index][1] == "u64" or self._program.parameters[index][1] == "b8":
            return np.full_like(self._sample.tid, (index + 1) << POINTER_SHIFT)
        return None

    def execute(self, instruction: Instruction) -> None:
        """Execute an instruction that is neither a branch nor an access to global memory."""
        operands = instruction.operands
        if not operands or not operands[0].startswith("%"):
            if operands and operands[0].startswith("{"):
                self._unpack(instruction)
            return
        target = operands[0].split("|")[0]
        head = instruction.opcode.split(".")[0]
        if head == "setp":
            return self._test(instruction, target)
        value = None if FLOATING.search(instruction.opcode) else self._result(instruction, head)
        if instruction.predicate and value is not None:
            value = self._guarded(instruction, target, value)
        self._put(target, value)
        self.tests.pop(target, None)

    def _unpack(self, instruction: Instruction) -> None:
        """Set the registers in braces: those of `mov` get the parts of another register, others are not known."""
        registers = [name.strip() for name in instruction.operands[0].strip("{} ").split(",")]
        value = self.value(instruction.operands[1]) if instruction.opcode.startswith("mov.b") else None
        parts = [None] * len(registers) if value is None else unpacked(instruction.opcode, value, len(registers))
        for register, part in zip(registers, parts, strict=True):
            self._put(register, part)

    def _guarded(self, instruction: Instruction, target: str, value: Lanes) -> MaybeLanes:
        """Return the values of a register after a guarded instruction; an unknown guard counts as true."""
        guard, old = self._values.get(instruction.predicate), self._values.get(target)
        if guard is None or old is None:
            return value
        return np.where((guard != 0) != instruction.negated, value, old)

    def _test(self, instruction: Instruction, target: str) -> None:
        """Execute a comparison, and remember its sides for trip counts."""
        left, right = (self.value(operand) for operand in instruction.operands[1:3])
        self.tests.pop(target, None)
        compared = None
        if left is not None and right is not None and len(instruction.operands) == 3:
            compared = comparison(instruction.opcode, left, right)
        if compared is None:
            return self._put(target, None)
        holds, left, right = compared
        self._put(target, holds.astype(np.int64))
        self.tests[target] = (instruction.opcode, left, right)

    def _result(self, instruction: Instruction, head: str) -> MaybeLanes:
        opcode, operands = instruction.opcode, instruction.operands
        if opcode.startswith("ld.param"):
            return self._parameter(operands[1])
        if head == "mov" and operands[1].startswith("{"):
            parts = [self.value(part.strip()) for part in operands[1].strip("{} ").split(",")]
            known = [part for part in parts if part is not None]
            return packed(opcode, known) if len(known) == len(parts) else None
        if head in ("mov", "cvta", "shfl"):
            value = self.value(operands[1])
            return moved(opcode, value) if value is not None and head == "mov" else value
        values = [self.value(operand) for operand in operands[1:]]
        lanes = [value for value in values if value is not None]
        if len(lanes) < len(values) or not lanes:
            return None
        return arithmetic(opcode, head, lanes)


def integer(text: str) -> int | None:
    """Return the value of an integer literal as a signed 64-bit number; None for any other text."""
    try:
        return ((int(text.removesuffix("U"), 0) + (1 << 63)) & ((1 << 64) - 1)) - (1 << 63)
    except ValueError:
        return None
