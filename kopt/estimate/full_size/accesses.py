"""Hold what a launch accesses in global memory: the threads that are followed, and their accesses as far as known."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt

from kopt.estimate.arithmetic import Lanes, MaybeLanes
from kopt.estimate.registers import POINTER_SHIFT

Mask = npt.NDArray[np.bool_]
"""Whether something holds, one value per followed thread."""

Scalar = TypeVar("Scalar", bound=np.generic)

PROGRAMS = 4096
"""Programs of a launch that are followed; of larger grids a random sample."""
ELEMENT_BYTES = {0: 1, 1: 2, 2: 4, 3: 4, 4: 8, 5: 8, 6: 2, 7: 4, 8: 4, 9: 8, 10: 2, 11: 4, 12: 4}
"""Bytes of an element by PTX's number of its type in `tensormap.replace.tile.elemtype`."""


class Threads(NamedTuple):
    """The threads that are followed: a few of each sampled program, then all threads of some programs."""

    tid: Lanes
    program: Lanes
    ctaid: tuple[Lanes, Lanes, Lanes]
    programs: int
    """Sampled blocks."""
    chosen: tuple[int, ...]
    """Numbers of the few threads, in their block; the first thread of all comes first."""
    wholes: tuple[int, ...]
    """Positions, among the sampled programs, of those that are followed with all threads."""
    block: int
    """Threads of a block."""
    grid: tuple[int, int, int]
    cluster: int
    """Blocks of a cluster; they are neighbours along x."""

    def few(self, values: npt.NDArray[Scalar]) -> npt.NDArray[Scalar]:
        """Return the values of the few threads (rows) of each sampled program (columns)."""
        few: npt.NDArray[Scalar] = values[: len(self.chosen) * self.programs].reshape(-1, self.programs)
        return few

    def all(self, values: npt.NDArray[Scalar]) -> npt.NDArray[Scalar]:
        """Return the values of all threads (columns) of each whole program (rows)."""
        every: npt.NDArray[Scalar] = values[len(self.chosen) * self.programs :].reshape(-1, self.block)
        return every

    def representatives(self, values: npt.NDArray[np.bool_]) -> Mask:
        """Return for each sampled program whether any of its few threads has the value true."""
        some: Mask = np.logical_or.reduce(self.few(values), axis=0, dtype=np.bool_)
        return some

    def agree_by_program(self, values: Lanes, mask: Mask) -> bool:
        """Return whether the threads of the mask have the same value as the first thread of their program."""
        few, every = self.few(values), self.all(values)
        differing = (few != few[0]) & self.few(mask), (every != every[:, :1]) & self.all(mask)
        return not any(part.any() for part in differing)

    def agree_by_warp(self, values: Lanes) -> bool:
        """Return whether the threads of a warp have the same value, as far as whole programs tell."""
        warps = self.all(values).reshape(-1, min(self.block, 32))
        return bool((warps == warps[:, :1]).all())

    def special_register(self, name: str) -> MaybeLanes:
        """Return the values of a special register such as `%ctaid.x`; None for any other."""
        base, _, axis = name.partition(".")
        at = "xyz".find(axis) if axis else 0
        if base == "%tid":
            return self.tid if at == 0 else np.zeros_like(self.tid)
        if base == "%clusterid":
            return self.ctaid[at] // self.cluster if at == 0 else self.ctaid[at]
        if base == "%ctaid":
            return self.ctaid[at]
        if base == "%nclusterid":
            return np.full_like(self.tid, self.grid[at] // (self.cluster if at == 0 else 1))
        if base == "%nctaid":
            return np.full_like(self.tid, self.grid[at])
        if base == "%ntid":
            return np.full_like(self.tid, self.block if at == 0 else 1)
        if base == "%laneid":
            return self.tid % 32
        if base in ("%cluster_ctarank", "%cluster_ctaid"):
            return self.ctaid[0] % self.cluster
        return None


def choose_threads(
    grid: tuple[int, int, int], block: int, cluster: int = 1, *, most: int = PROGRAMS, wholes: Iterable[int] = (),
    chosen: Iterable[int] = (),
) -> Threads:  # fmt: skip
    """Choose the threads to follow: all blocks up to `most`, else a random sample with the first and the last.

    Three threads are followed of each block, and all threads of two blocks inside the grid, the first and the last.

    Args:
        grid: programs of the launch.
        block: threads of a block.
        cluster: blocks of a program.
        most: largest number of blocks.
        wholes: positions, among the sampled blocks, of further ones that are followed with all threads.
        chosen: further threads to follow of each block.
    """
    grid = (grid[0] * cluster, grid[1], grid[2])
    total = grid[0] * grid[1] * grid[2]
    if total <= most:
        programs = np.arange(total, dtype=np.int64)
    else:
        drawn = np.random.default_rng(total).choice(total, most - 2, replace=False)
        programs = np.unique(np.concatenate([[0, total - 1], drawn])).astype(np.int64)
    count = len(programs)
    positions = tuple(dict.fromkeys((2 * count // 3, count // 3, 0, count - 1, *wholes)))
    few = tuple(dict.fromkeys((0, 5 * block // 8 + 1, block - 1, *chosen)))
    tids = [np.full(count, t) for t in few] + [np.arange(block)] * len(positions)
    whole = [np.full(block, programs[at]) for at in positions]
    linear = np.concatenate([*[programs] * len(few), *whole]).astype(np.int64)
    ctaid = (linear % grid[0], linear // grid[0] % grid[1], linear // (grid[0] * grid[1]))
    return Threads(np.concatenate(tids).astype(np.int64), linear, ctaid, count, few, positions, block, grid, cluster)


class Descriptor(NamedTuple):
    """A tensor as copies by descriptor (TMA) see it; dimensions begin with the one of adjacent elements."""

    base: Lanes
    """Address of the first element, by thread."""
    strides: tuple[Lanes, ...]
    """Bytes between neighbours, by dimension and thread."""
    box: tuple[int, ...]
    """Elements that one copy moves, by dimension."""

    def rows(self) -> Lanes:
        """Return the offsets in bytes of the rows of a box."""
        rows = np.zeros(1, dtype=np.int64)
        for stride, size in zip(self.strides[1:], self.box[1:], strict=False):
            rows = (rows[:, None] + np.arange(size) * int(stride[0])).ravel()
        return rows

    @property
    def row_bytes(self) -> int:
        """Bytes of a row of a box."""
        return self.box[0] * int(self.strides[0][0])


def described(fields: Mapping[str, Lanes]) -> Descriptor | None:
    """Return the descriptor that a kernel made on the device; None where one of its fields is not known.

    Args:
        fields: what the kernel wrote, by the name of the field in PTX and its dimension: `box_dim.1`.
    """
    rank, element = fields.get("rank.0"), fields.get("elemtype.0")
    if rank is None or element is None or "global_address.0" not in fields:
        return None
    dimensions = int(rank[0]) + 1
    size = ELEMENT_BYTES.get(int(element[0]))
    boxes = [fields.get(f"box_dim.{at}") for at in range(dimensions)]
    strides = [fields.get(f"global_stride.{at}") for at in range(dimensions - 1)]
    known_boxes, known = [b for b in boxes if b is not None], [s for s in strides if s is not None]
    if size is None or len(known_boxes) < dimensions or len(known) < dimensions - 1:
        return None
    base = fields["global_address.0"]
    first = np.full(len(base), size, dtype=np.int64)
    return Descriptor(base, (first, *known), tuple(int(box[0]) for box in known_boxes))


class Made(NamedTuple):
    """The descriptors that a kernel has made at one place of its code."""

    number: int
    fields: dict[str, Lanes]
    """Fields of the one that it is making."""


@dataclass
class Descriptors:
    """The tensor descriptors of a launch: those among its parameters, and those that the kernel makes."""

    parameters: Mapping[int, tuple[tuple[int, ...], tuple[int, ...]]]
    """Strides in bytes, and box, by index of the parameter."""
    _fields: dict[str, Lanes] = field(default_factory=dict)
    _made: list[tuple[Lanes, Descriptor]] = field(default_factory=list)
    """Descriptors that the kernel made, with their addresses."""

    def at(self, pointer: MaybeLanes, active: Mask) -> Descriptor | None:
        """Return the descriptor at an address of the active threads; None where it is not known."""
        if pointer is None:
            return None
        for address, made in reversed(self._made):
            if np.array_equal(address[active], pointer[active]):
                return made
        index = int(parameter_of(pointer[active][:1])[0])
        if index not in self.parameters:
            return None
        strides, box = self.parameters[index]
        return Descriptor(pointer, tuple(np.full(len(pointer), stride) for stride in strides), box)

    def write(self, name: str, value: MaybeLanes) -> None:
        """Write a field of the descriptor that the kernel is making; None for a value that is not known."""
        self._fields.pop(name, None)
        if value is not None:
            self._fields[name] = value

    def finish(self, address: MaybeLanes) -> None:
        """Keep the descriptor that the kernel has made at an address, if all of it is known."""
        made = described(self._fields)
        if address is not None and made is not None:
            self._made.append((address, made))

    def state(self) -> Made:
        """Return what the kernel has made so far."""
        return Made(len(self._made), dict(self._fields))

    def return_to(self, state: Made) -> None:
        """Forget what the kernel has made since."""
        self._fields = dict(state.fields)
        del self._made[state.number :]


@dataclass
class Access:
    """One visit of the walk to an access to global memory."""

    at: int
    """Index of the instruction."""
    kind: str
    base: Lanes
    """Byte address by thread, less the shift."""
    active: Mask
    """Threads that make the access, or may make it."""
    certain: Mask
    """Threads that make the access for sure."""
    size: int
    """Bytes of one thread's access, or of one row of a copy by descriptor."""
    step: Lanes | None = None
    """Distance between the iterations of a progression; None for one visit."""
    count: Lanes | None = None
    """Iterations of a progression."""
    rows: Lanes | None = None
    """Offsets of the rows that a copy by descriptor moves."""
    shift: int = 0
    """Distance of all threads' addresses from the base, in bytes."""

    @property
    def address(self) -> Lanes:
        """Byte address by thread."""
        return self.base + self.shift if self.shift else self.base

    def sharing(self, earlier: Access | None) -> Access:
        """Return the same visit, with the arrays of an earlier one where it differs from that by a distance alone."""
        if earlier is None or self.step is not None or earlier.step is not None:
            return self
        shift = int(self.base[0] - earlier.base[0])
        same = (
            self.size == earlier.size
            and np.array_equal(self.active, earlier.active) and np.array_equal(self.certain, earlier.certain)
            and _equal_rows(self.rows, earlier.rows) and bool((self.base - earlier.base == shift).all())
        )  # fmt: skip
        return replace(earlier, shift=shift) if same else self


def _equal_rows(one: Lanes | None, other: Lanes | None) -> bool:
    return one is other or (one is not None and other is not None and np.array_equal(one, other))


@dataclass
class Accesses:
    """What a launch accesses, as far as it is known."""

    visits: list[Access] = field(default_factory=list)
    unknown: dict[int, float] = field(default_factory=dict)
    """Bytes, at most, that are accessed at unknown addresses, by parameter; infinite where it is not known how often.
    The parameter is -1 where it may be any."""
    wrapped: bool = False
    """Whether a 32-bit sum or product overflowed."""
    complete: bool = True
    """False when the step limit ended the walk."""
    steps: int = 0
    """Instructions that were executed."""
    steps_to_end: float = 0.0
    """Instructions of the whole walk, about, where the limit ended it; 0 where that is not known."""
    undecided: bool = False
    """Whether a branch could not be decided, so that some visits may not happen."""


def parameter_of(address: Lanes) -> Lanes:
    """Return the index of the pointer parameter that each address is based on."""
    return ((address + (1 << (POINTER_SHIFT - 1))) >> POINTER_SHIFT) - 1
