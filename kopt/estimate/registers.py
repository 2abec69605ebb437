"""Follow the integer registers of a kernel for a sample of its threads, instruction by instruction.

Values that are loaded or that depend on floating point are unknown.  `kopt.estimate.walk` follows the control flow.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from kopt.estimate.arithmetic import FLOATING, Lanes, MaybeLanes, arithmetic, comparison, moved, packed, unpacked
from kopt.estimate.instructions import Instruction, PtxProgram

PROGRAMS = 1024
"""Most programs of a wave that are sampled."""
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
    """Positions of the first thread of each of several programs."""


def sample(grid: tuple[int, int, int], threads: int, wave: int) -> Sample:
    """Sample one warp of the middle program of the middle wave, and one thread of each program of that wave.

    Args:
        grid: blocks of the launch.
        threads: threads of a block.
        wave: blocks that the device holds at once; at most `PROGRAMS` of them are sampled.
    """
    total = grid[0] * grid[1] * grid[2]
    start = (total // max(wave, 1)) // 2 * wave if total > wave else 0
    programs = np.arange(start, min(start + min(wave, PROGRAMS), total), dtype=np.int64)
    lanes = min(32, threads)
    inside = np.concatenate([np.arange(lanes), np.arange(0, threads, 32)])
    linear = np.concatenate([np.full(len(inside), programs[len(programs) // 2]), programs])
    tid = np.concatenate([inside, np.zeros(len(programs))]).astype(np.int64)
    ctaid = (linear % grid[0], linear // grid[0] % grid[1], linear // (grid[0] * grid[1]))
    parts = (slice(0, lanes), slice(lanes, len(inside)), slice(len(inside), len(linear)))
    return Sample(tid, ctaid, grid, threads, *parts)


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
        self.tests: dict[str, tuple[str, Lanes, Lanes]] = {}
        """The comparison that set each predicate register, by register: opcode and both sides."""

    def get(self, name: str) -> MaybeLanes:
        """Return the values of a register."""
        return self._values.get(name)

    def forget(self, name: str) -> None:
        """Mark the values of a register as unknown."""
        self._values[name] = None

    def set(self, name: str, value: int) -> None:
        """Give a register one value in all threads."""
        self._values[name] = np.full_like(self._sample.tid, value)

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
        self._values[target] = value
        self.tests.pop(target, None)

    def _unpack(self, instruction: Instruction) -> None:
        """Set the registers in braces: those of `mov` get the parts of another register, others are not known."""
        registers = [name.strip() for name in instruction.operands[0].strip("{} ").split(",")]
        value = self.value(instruction.operands[1]) if instruction.opcode.startswith("mov.b") else None
        parts = [None] * len(registers) if value is None else unpacked(instruction.opcode, value, len(registers))
        for register, part in zip(registers, parts, strict=True):
            self._values[register] = part

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
        self._values[target] = None
        if left is None or right is None or len(instruction.operands) != 3:
            return
        if (compared := comparison(instruction.opcode, left, right)) is not None:
            holds, left, right = compared
            self._values[target] = holds.astype(np.int64)
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
