"""Walk through a kernel's address arithmetic: how often each instruction runs, and which bytes it asks for.

The integer half of the PTX is executed for a sample of threads: one warp, one thread of each of many programs of one
wave, and of many programs from all over the grid.  `kopt.estimate.registers` holds the values of registers,
`kopt.estimate.flow` follows branches and loops.  Time is no business of this module.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from kopt.estimate.arithmetic import Lanes, MaybeLanes
from kopt.estimate.flow import UNKNOWN, Amount, Flow, Loop, mean
from kopt.estimate.instructions import Instruction, PtxProgram, access_bytes, kind
from kopt.estimate.registers import POINTER_SHIFT, Mask, Registers, Sample, integer

STEP_LIMIT = 60_000
"""Instructions after which a walk is cut short."""


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
    """Share of the sampled threads that come here whose predicate holds, 0 to 1."""
    bytes_per_thread: int
    """Bytes that a thread moves; for TMA, bytes per program."""
    loop: int
    """Index of the first instruction of the innermost loop around the access; UNKNOWN outside loops."""
    step: int = 0
    """Distance that the address moves from one iteration to the next, bytes."""
    visits: int = 0
    """Times that the walk came here."""
    makers: Mask | None = None
    """Which of the sampled threads make the access; None where all do."""


@dataclass
class Walk:
    """The result of a walk; counts are per thread."""

    counts: dict[int, float] = field(default_factory=dict)
    """Times that a thread runs an instruction, by the instruction's index: the mean over the grid's programs."""
    each: dict[int, Amount] = field(default_factory=dict)
    """The same for each of the sampled programs of the grid."""
    sites: dict[int, Site] = field(default_factory=dict)
    """Accesses to global memory by instruction index."""
    loops: dict[int, Loop] = field(default_factory=dict)
    """Loops by the index of their first instruction."""
    around: Sequence[tuple[int, ...]] = ()
    """The loops around each instruction, from the outermost, by the index of their first instruction."""
    complete: bool = True
    """False when the step limit ended the walk."""

    @property
    def unknown_loops(self) -> int:
        """Number of loops whose trip count is not known."""
        return sum(loop.trips is None for loop in self.loops.values())


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
        self.program, self.sample = program, sampled
        self.registers = Registers(program, sampled, scalars)
        self.flow = Flow(program, sampled, self.registers, guess.trips, guess.jumps)
        self.result = Walk(loops=self.flow.loops, around=self.flow.around)
        self.expected_bytes = 0

    def run(self) -> Walk:
        at: int | None = 0
        steps = 0
        instructions = self.program.instructions
        while at is not None and at < len(instructions) and steps < STEP_LIMIT:
            self.flow.arrive(at)
            instruction = instructions[at]
            steps += 1
            if instruction.opcode in ("ret", "exit"):
                at = self.flow.leave(at, instruction)
            elif instruction.opcode.startswith("bra"):
                at = self.flow.branch(at, instruction)
            else:
                self._plain(at, instruction)
                at = self.flow.after(at)
        self.result.complete = steps < STEP_LIMIT
        self.result.each = self.flow.counts()
        self.result.counts = {at: mean(count) for at, count in self.result.each.items()}
        return self.result

    def _plain(self, at: int, instruction: Instruction) -> None:
        if ".global" in instruction.opcode:
            self._access(at, instruction)
        elif "expect_tx" in instruction.opcode:
            self.expected_bytes = integer(instruction.operands[-1]) or 0
        else:
            self.registers.execute(instruction)

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
        site, makers, loop = self.result.sites.get(at), self.registers.active, self.flow.loop
        if site is None:
            active = self._active(instruction)
            site = Site(
                instruction, name, _parameter(address, name), address, active, size, loop,
                makers=None if makers is None else makers.copy(),
            )  # fmt: skip
            self.result.sites[at] = site
        elif site.addresses is not None and address is not None:
            if site.visits == 1:
                mover = 0 if makers is None else int(makers.argmax())
                site.step = int(abs(address[mover] - site.addresses[mover]))
            if site.makers is not None:
                more = ~site.makers if makers is None else makers & ~site.makers
                site.addresses, site.makers = np.where(more, address, site.addresses), site.makers | more
        site.visits += 1
        site.loop = max(site.loop, loop)

    def _active(self, instruction: Instruction) -> float:
        """Return the share of threads whose predicate holds: the mean of the warp's and of the grid's programs'."""
        value = self.registers.get(instruction.predicate) if instruction.predicate else None
        if value is None:
            return 1.0
        holds = (value != 0) != instruction.negated
        makers = self.registers.active
        warp, grid = holds[self.sample.warp], holds[self.sample.grid_programs]
        if makers is not None:
            warp, grid = warp[makers[self.sample.warp]], grid[makers[self.sample.grid_programs]]
        means = [float(np.mean(part)) for part in (warp, grid) if len(part)]
        return sum(means) / len(means) if means else 1.0


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
