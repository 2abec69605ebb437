"""Execute a kernel's address arithmetic: which bytes the sampled programs of a launch access, loop by loop.

In contrast to `kopt.estimate.walk`, which asks how often an instruction runs on average, this follows programs spread
over the whole grid, each along its own path, to the end of every loop.  Long loops whose registers move by equal steps
are followed for their first and last iterations; what lies between is a progression.  Only instructions that
addresses, guards and branches depend on are executed.  What depends on loaded values is not known, and said so.
"""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from kopt.estimate.arithmetic import COMPARE, FLOATING, Lanes, MaybeLanes, arithmetic, unsigned_test
from kopt.estimate.instructions import Instruction, PtxProgram, access_bytes, kind, loop_ends
from kopt.estimate.registers import POINTER_SHIFT, integer
from kopt.estimate.trip_counts import first_end

Mask = npt.NDArray[np.bool_]

PROGRAMS = 4096
"""Programs of a launch that are followed; of larger grids a random sample."""
STEP_LIMIT = 60_000
"""Instructions after which following a launch is given up: then its accesses are not known."""
FIRST, LAST = 3, 8
"""Iterations at the begin and the end of a long loop that are executed; pipelines end within the last ones."""
UNDECIDED_LIMIT = 3
"""Passes after which a branch that cannot be decided leaves its loop."""
FOLLOWED = ("mov", "cvta", "shfl", "cvt", "bfe", "not", "neg", "abs", "selp", "mad", "mul", "add", "sub", "and", "or",
            "xor", "shl", "shr", "min", "max", "div", "rem", "setp", "ld")  # fmt: skip
"""Instructions whose results follow from their operands here."""


class Threads(NamedTuple):
    """The threads that are followed: three of each sampled program, then all threads of two programs."""

    tid: Lanes
    program: Lanes
    ctaid: tuple[Lanes, Lanes, Lanes]
    programs: int
    """Sampled blocks."""
    block: int
    """Threads of a block."""
    grid: tuple[int, int, int]
    cluster: int
    """Blocks of a cluster; they are neighbours along x."""

    def representatives(self, values: npt.NDArray[np.bool_]) -> Mask:
        """Return for each sampled program whether any of its three threads has the value true."""
        first, middle, last = values[: 3 * self.programs].reshape(3, self.programs)
        return first | middle | last

    def whole(self, which: int) -> slice:
        """Return the positions of all threads of one of the two whole programs."""
        start = 3 * self.programs + which * self.block
        return slice(start, start + self.block)


def choose_threads(
    grid: tuple[int, int, int], block: int, cluster: int = 1, chosen: Collection[int] | None = None
) -> Threads:
    """Choose the threads to follow: all blocks up to `PROGRAMS`, else a random sample with the first and the last.

    Args:
        grid: programs of the launch.
        block: threads of a block.
        cluster: blocks of a program.
        chosen: the blocks to follow, by number, where they are chosen already.
    """
    grid = (grid[0] * cluster, grid[1], grid[2])
    total = grid[0] * grid[1] * grid[2]
    if chosen is not None:
        programs = np.unique(np.array([*chosen], dtype=np.int64))
    elif total <= PROGRAMS:
        programs = np.arange(total, dtype=np.int64)
    else:
        drawn = np.random.default_rng(total).choice(total, PROGRAMS - 2, replace=False)
        programs = np.unique(np.concatenate([[0, total - 1], drawn])).astype(np.int64)
    whole = [programs[len(programs) // 3], programs[2 * len(programs) // 3]]
    tids = [np.full(len(programs), t) for t in (0, block // 2, block - 1)] + [np.arange(block)] * 2
    linear = np.concatenate([programs, programs, programs, *(np.full(block, p) for p in whole)]).astype(np.int64)
    ctaid = (linear % grid[0], linear // grid[0] % grid[1], linear // (grid[0] * grid[1]))
    return Threads(np.concatenate(tids).astype(np.int64), linear, ctaid, len(programs), block, grid, cluster)


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


@dataclass
class Access:
    """One visit of the walk to an access to global memory."""

    at: int
    """Index of the instruction."""
    kind: str
    address: Lanes
    """Byte address by thread."""
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
    undecided: bool = False
    """Whether a branch could not be decided, so that some visits may not happen."""


class _Loop:
    """A loop that is being executed: the states in which its head was reached by its last branch."""

    def __init__(self) -> None:
        self.mask: Mask | None = None
        self.states: list[dict[str, Lanes]] = []
        self.tests: list[tuple[Lanes, Lanes]] = []
        self.marks: list[int] = []  # number of visits made so far
        self.unknown: list[dict[int, float]] = []  # bytes at unknown addresses so far
        self.given_up = False


class _Step(NamedTuple):
    """One instruction, prepared."""

    code: Instruction
    role: str
    """`compute`, `test`, `load`, `access`, `branch`, `end` or `skip`."""
    target: str
    sources: tuple[str, ...]


class Executor:
    """Execute one launch for its sampled threads."""

    def __init__(
        self, program: PtxProgram, threads: Threads, scalars: Mapping[int, int], contents: Mapping[int, int],
        descriptors: Mapping[int, tuple[tuple[int, ...], tuple[int, ...]]],
    ) -> None:  # fmt: skip
        """Prepare.

        Args:
            program: the kernel's code.
            threads: the threads to follow.
            scalars: values of scalar parameters, by index.
            contents: the one value that fills the memory behind pointer parameters, by index, where it is known.
            descriptors: strides in bytes and box of the tensor descriptors among the parameters, by index.
        """
        self._program, self._threads, self._descriptors = program, threads, descriptors
        self._scalars, self._contents = scalars, contents
        self._parameters = {name: index for index, (name, _) in enumerate(program.parameters)}
        self._values: dict[str, MaybeLanes] = {}
        self._tests: dict[str, tuple[str, Lanes, Lanes]] = {}
        self._result = Accesses()
        self._ends = loop_ends(program)
        self._steps = _prepared(program)
        self._loops: dict[int, _Loop] = {}
        self._undecided: dict[int, int] = {}
        self._fields: dict[str, Lanes] = {}  # of the descriptor that is being made
        self._made: list[tuple[Lanes, Descriptor]] = []  # descriptors made on the device, with their addresses
        self._lanes = len(threads.tid)
        self._all = np.ones(self._lanes, dtype=bool)

    def run(self) -> Accesses:
        """Execute the launch."""
        waiting: dict[int, Mask] = {0: self._all.copy()}
        steps = 0
        end = len(self._steps)
        if any(code.opcode.startswith(("brx", "setmaxnreg")) for code in self._program.instructions):
            # warps do different work
            self._result.complete = False
            return self._result
        while waiting:
            at = min(waiting)
            mask = waiting.pop(at)
            whole = bool(mask.all())
            while at < end:
                if at in waiting:
                    mask = mask | waiting.pop(at)
                    whole = bool(mask.all())
                step = self._steps[at]
                if step.role == "skip":
                    at += 1
                    continue
                steps += 1
                if steps > STEP_LIMIT:
                    self._result.complete = False
                    return self._result
                if step.role == "branch":
                    self._branch(at, step.code, mask, waiting)
                    break
                if step.role == "end":
                    break
                self._execute(at, step, mask, whole)
                at += 1
        return self._result

    # Values

    def _value(self, operand: str) -> MaybeLanes:
        if operand.startswith("%"):
            known = self._values.get(operand)
            return known if known is not None else self._special(operand)
        literal = integer(operand)
        if literal is None:
            index = self._parameters.get(operand)
            return None if index is None else np.full(self._lanes, (index + 1) << POINTER_SHIFT, dtype=np.int64)
        return np.full(self._lanes, literal, dtype=np.int64)

    def _special(self, name: str) -> MaybeLanes:
        base, _, axis = name.partition(".")
        at = "xyz".find(axis) if axis else 0
        threads = self._threads
        if base == "%tid":
            return threads.tid if at == 0 else np.zeros_like(threads.tid)
        if base == "%clusterid":
            return threads.ctaid[at] // threads.cluster if at == 0 else threads.ctaid[at]
        if base == "%ctaid":
            return threads.ctaid[at]
        if base == "%nclusterid":
            return np.full_like(threads.tid, threads.grid[at] // (threads.cluster if at == 0 else 1))
        if base == "%nctaid":
            return np.full_like(threads.tid, threads.grid[at])
        if base == "%ntid":
            return np.full_like(threads.tid, threads.block if at == 0 else 1)
        if base == "%laneid":
            return threads.tid % 32
        if base in ("%cluster_ctarank", "%cluster_ctaid"):
            return threads.ctaid[0] % threads.cluster
        return None

    def _parameter(self, operand: str) -> MaybeLanes:
        index = self._parameters.get(operand.strip("[] ").split("+")[0])
        if index is None:
            return None
        if index in self._scalars:
            return np.full(self._lanes, self._scalars[index], dtype=np.int64)
        if self._program.parameters[index][1] in ("u64", "b8"):
            return np.full(self._lanes, (index + 1) << POINTER_SHIFT, dtype=np.int64)
        return None

    def _execute(self, at: int, step: _Step, mask: Mask, whole: bool) -> None:
        code = step.code
        if step.role == "access":
            self._access(at, code, mask)
            if not code.opcode.startswith(("ld.global", "atom")):
                return
            loaded = self._loaded(code)
            for register in re.findall(r"%\w+", code.operands[0]):
                self._set(register, loaded, mask, whole, code)
            return
        if step.role == "descriptor":
            self._make_descriptor(code)
            return
        if step.role == "test":
            self._test(code, step.target, mask, whole)
            return
        value: MaybeLanes
        if step.role == "load":
            value = self._parameter(code.operands[1])
        else:
            values = [self._value(source) for source in step.sources]
            lanes = [v for v in values if v is not None]
            value = None
            if len(lanes) == len(values) and lanes:
                head = code.opcode.split(".", 1)[0]
                value = lanes[0] if head in ("mov", "cvta", "shfl") else arithmetic(code.opcode, head, lanes)
                if not self._result.wrapped and value is not None and head in ("add", "mul", "mad", "shl"):
                    self._result.wrapped = _wraps(code.opcode, head, lanes, mask)
        self._set(step.target, value, mask, whole, code)

    def _set(self, register: str, value: MaybeLanes, mask: Mask, whole: bool, code: Instruction) -> None:
        self._tests.pop(register, None)
        if code.predicate and value is not None:
            guard, old = self._values.get(code.predicate), self._values.get(register)
            if guard is not None and old is not None:
                value = np.where((guard != 0) != code.negated, value, old)
        if value is not None and not whole:
            old = self._values.get(register)
            value = value if old is None else np.where(mask, value, old)
        self._values[register] = value

    def _test(self, code: Instruction, target: str, mask: Mask, whole: bool) -> None:
        left, right = self._value(code.operands[1]), self._value(code.operands[2])
        compare = COMPARE.get(code.opcode.split(".")[1])
        if left is None or right is None or compare is None or FLOATING.search(code.opcode):
            self._set(target, None, mask, whole, code)
            return
        left, right = unsigned_test(code.opcode, left), unsigned_test(code.opcode, right)
        self._set(target, compare(left, right).astype(np.int64), mask, whole, code)
        self._tests[target] = (code.opcode, left, right)

    def _loaded(self, code: Instruction) -> MaybeLanes:
        """Return what a load gives where one known value fills the whole memory behind its parameter."""
        address = self._address(code)
        if address is None or not self._contents or code.opcode.startswith("atom"):
            return None
        parameters = np.unique(parameter_of(address))
        if len(parameters) != 1 or int(parameters[0]) not in self._contents:
            return None
        return np.full(self._lanes, self._contents[int(parameters[0])], dtype=np.int64)

    # Branches and loops

    def _branch(self, at: int, code: Instruction, mask: Mask, waiting: dict[int, Mask]) -> None:
        target = self._program.labels.get(code.operands[0])
        if target is None:
            _wait(waiting, at + 1, mask)
            return
        if not code.predicate:
            _wait(waiting, target, mask)
            return
        value = self._values.get(code.predicate)
        if value is None:
            self._undecided_branch(at, target, mask, waiting)
            return
        taken = ((value != 0) != code.negated) & mask
        rest = mask & ~taken
        if rest.any():
            _wait(waiting, at + 1, rest)
        if not taken.any():
            self._loops.pop(target, None)
            return
        if target <= at:
            self._skip_iterations(at, target, code, taken)
        _wait(waiting, target, taken)

    def _undecided_branch(self, at: int, target: int, mask: Mask, waiting: dict[int, Mask]) -> None:
        """Go both ways; a loop that cannot be decided is left after some passes."""
        self._result.undecided = True
        inside = [(head, end) for head, end in self._ends.items() if head <= at <= end]
        self._undecided[at] = self._undecided.get(at, 0) + 1
        tired = self._undecided[at] > UNDECIDED_LIMIT * max(len(inside), 1)
        leaving = [way for way in (at + 1, target) if any(not head <= way <= end for head, end in inside)]
        if leaving:
            self._mark_unknown(inside)
        for way in (at + 1, target):
            if way <= at and (tired or not leaving):
                continue  # the way behind the branch comes back here, too
            if tired and leaving and way not in leaving:
                continue
            _wait(waiting, way, mask)

    def _mark_unknown(self, loops: list[tuple[int, int]]) -> None:
        """Mark what the innermost of these loops accesses as unknown: how often it runs is not known."""
        head, end = max(loops)
        for at in range(head, end + 1):
            if self._steps[at].role == "access":
                self._not_known(self._steps[at].code, math.inf)

    def _not_known(self, code: Instruction, amount: float) -> None:
        """Add bytes at unknown addresses to the parameters that the access may be based on, by the text of the code."""
        for index in _pointer_parameters(self._program, code) or {-1}:
            self._result.unknown[index] = self._result.unknown.get(index, 0.0) + amount

    def _skip_iterations(self, at: int, head: int, code: Instruction, taken: Mask) -> None:
        """Remember that a loop goes round; after the first iterations, jump to its last ones where that is sound."""
        loop = self._loops.setdefault(head, _Loop())
        if loop.mask is None or loop.mask.shape != taken.shape or not np.array_equal(loop.mask, taken):
            self._loops[head] = loop = _Loop()
            loop.mask = taken.copy()
        elif loop.given_up:
            return
        test = self._tests.get(code.predicate)
        body = _body(self._program, self._steps, head, at)
        if test is None or not body.simple:
            loop.given_up = True
            return
        state = {name: v for name in body.carried if (v := self._values.get(name)) is not None}
        loop.states.append(state)
        loop.tests.append((test[1], test[2]))
        loop.marks.append(len(self._result.visits))
        loop.unknown = [*loop.unknown[-1:], dict(self._result.unknown)]
        if len(loop.states) < FIRST:
            return
        loop.given_up = True  # tried once: what is executed from here on goes to the end
        self._jump(loop, test[0], code, taken, body)

    def _jump(self, loop: _Loop, comparison: str, code: Instruction, taken: Mask, body: _Body) -> None:
        one, two, three = loop.states[-3:]
        if not one.keys() == two.keys() == three.keys() == set(body.carried):
            return
        steps = {name: three[name] - two[name] for name in three}
        if any((steps[name] != two[name] - one[name])[taken].any() for name in three):
            return
        differences = [(left - right) for left, right in loop.tests[-3:]]
        step = differences[2] - differences[1]
        if (step != differences[1] - differences[0])[taken].any():
            return
        name = comparison.split(".")[1] if "." in comparison else comparison
        ends = first_end(name, differences[2].astype(np.float64), step.astype(np.float64), stay=not code.negated)
        if ends is None:
            return
        finite = np.where(np.isfinite(ends), ends, -1.0).astype(np.int64)
        jumped = np.where(taken & (finite > LAST), finite - LAST, 0)
        if (finite[taken] < 0).any() or not jumped.any():
            return
        start, middle, end = loop.marks[-3:]
        before, after = self._result.visits[start:middle], self._result.visits[middle:end]
        if [visit.at for visit in before] != [visit.at for visit in after] or any(v.step is not None for v in after):
            return
        grown = {
            index: amount - loop.unknown[0].get(index, 0.0)
            for index, amount in self._result.unknown.items()
            if math.isfinite(amount)
        }
        for index, amount in grown.items():  # what the last iteration added, in all iterations
            self._result.unknown[index] += amount * float(jumped.max())
        going = jumped > 0
        for visit, old in zip(after, before, strict=True):
            moved = visit.address - old.address
            self._result.visits.append(
                replace(
                    visit, address=visit.address + moved, active=visit.active & going, certain=visit.certain & going,
                    step=moved, count=jumped,
                )
            )  # fmt: skip
        for register, value in three.items():
            self._values[register] = np.where(taken, value + jumped * steps[register], value)

    # Memory

    def _address(self, code: Instruction) -> MaybeLanes:
        return self._address_of(next((o for o in reversed(code.operands) if o.startswith("[") and "%" in o), ""))

    def _address_of(self, operand: str) -> MaybeLanes:
        match = re.match(r"\[\s*(%?[\w$]+)(?:\s*\+\s*(-?\w+))?", operand)
        base = self._value(match[1]) if match else None
        if match is None or base is None:
            return None
        return base + (integer(match[2]) or 0) if match[2] else base

    def _access(self, at: int, code: Instruction, mask: Mask) -> None:
        name = kind(code.opcode)
        guard = self._values.get(code.predicate) if code.predicate else None
        active = mask if guard is None else mask & ((guard != 0) != code.negated)
        certain = active if guard is not None or not code.predicate else np.zeros_like(mask)
        if name == "cp_async" and len(code.operands) > 3:  # the bytes that are read; the others are zeros
            read = self._value(code.operands[3])
            active = active if read is None else active & (read > 0)
            certain = certain & active if read is not None else np.zeros_like(mask)
        if not active.any():
            return
        if name in ("tma_load", "tma_store"):
            self._descriptor_access(at, code, name, active, certain)
            return
        size = integer(code.operands[2]) if name == "cp_async" else access_bytes(code.opcode)
        address = self._address(code)
        if address is None:
            threads = float(np.count_nonzero(self._threads.representatives(active))) * self._threads.block
            self._not_known(code, threads * (size or 4))
            return
        self._result.visits.append(Access(at, name, address, active, certain, size or 4))

    def _descriptor_access(self, at: int, code: Instruction, name: str, active: Mask, certain: Mask) -> None:
        operand = next((o for o in code.operands if "{" in o and o.startswith("[")), "")
        pointer, _, inner = operand.partition("{")
        coordinates = [self._value(part.strip(" }]")) for part in inner.split(",")]
        known = [c for c in coordinates if c is not None]
        descriptor = self._descriptor(self._value(pointer.strip("[ ,")), active)
        if descriptor is None or len(known) < len(coordinates):
            self._not_known(code, math.inf)
            return
        address = descriptor.base.copy()
        for coordinate, stride in zip(known, descriptor.strides, strict=False):
            address += coordinate * stride
        rows = descriptor.rows()
        self._result.visits.append(Access(at, name, address, active, certain, descriptor.row_bytes, rows=rows))

    def _descriptor(self, pointer: MaybeLanes, active: Mask) -> Descriptor | None:
        """Return the descriptor at an address: a parameter, or one that the kernel made."""
        if pointer is None:
            return None
        for address, made in reversed(self._made):
            if np.array_equal(address[active], pointer[active]):
                return made
        index = int(parameter_of(pointer[active][:1])[0])
        if index not in self._descriptors:
            return None
        strides, box = self._descriptors[index]
        return Descriptor(pointer, tuple(np.full(self._lanes, stride) for stride in strides), box)

    def _make_descriptor(self, code: Instruction) -> None:
        """Follow the instructions with which a kernel makes a descriptor."""
        if "cp_fenceproxy" in code.opcode:
            address, made = self._address_of(code.operands[0]), self._described()
            if address is not None and made is not None:
                self._made.append((address, made))
            return
        name = code.opcode.split(".")[3]
        value = self._value(code.operands[-1])
        place = code.operands[1] if len(code.operands) > 2 else ""
        key = f"{name}.{integer(place) or 0}"
        self._fields.pop(key, None)
        if value is not None:
            self._fields[key] = value

    def _described(self) -> Descriptor | None:
        fields = self._fields
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
        first = np.full(self._lanes, size, dtype=np.int64)
        return Descriptor(fields["global_address.0"], (first, *known), tuple(int(box[0]) for box in known_boxes))


ELEMENT_BYTES = {0: 1, 1: 2, 2: 4, 3: 4, 4: 8, 5: 8, 6: 2, 7: 4, 8: 4, 9: 8, 10: 2, 11: 4, 12: 4}
"""Bytes of an element by PTX's number of its type in `tensormap.replace.tile.elemtype`."""


def _wait(waiting: dict[int, Mask], at: int, mask: Mask) -> None:
    waiting[at] = waiting[at] | mask if at in waiting else mask


def parameter_of(address: Lanes) -> Lanes:
    """Return the index of the pointer parameter that each address is based on."""
    return ((address + (1 << (POINTER_SHIFT - 1))) >> POINTER_SHIFT) - 1


def _wraps(opcode: str, head: str, lanes: list[Lanes], mask: Mask) -> bool:
    """Return whether a 32-bit signed result overflows in an active thread."""
    if "64" in opcode or ".wide" in opcode or ".hi" in opcode or len(lanes) < 2:
        return False
    exact = lanes[0] * lanes[1] if head in ("mul", "mad") else lanes[0] + lanes[1]
    if head == "mad":
        exact = exact + lanes[2]
    if head == "shl":
        exact = lanes[0] << (lanes[1] & 31)
    return bool((np.abs(exact[mask]) >= 1 << 31).any())


class _Body(NamedTuple):
    """A loop's body, as far as it matters for jumping over iterations."""

    simple: bool
    """Whether its branches do not depend on the iteration, and registers move by sums alone."""
    carried: tuple[str, ...]
    """Registers that one iteration hands to the next."""


def _prepared(program: PtxProgram) -> tuple[_Step, ...]:
    """Return the steps of a program, without branches around code that nothing followed depends on."""
    decided: frozenset[int] = frozenset()
    while True:
        needed = _followed_registers(program, decided)
        steps = tuple(_step(code, needed) for code in program.instructions)
        steps = tuple(
            _Step(step.code, "skip", "", ()) if step.role == "branch" and step.code.predicate and at not in decided
            else step
            for at, step in enumerate(steps)
        )  # fmt: skip
        found = decided | {
            at
            for at, code in enumerate(program.instructions)
            if code.opcode.startswith("bra") and code.predicate and not _is_idle(program, steps, at)
        }
        if found == decided:
            return steps
        decided = found


def _is_idle(program: PtxProgram, steps: tuple[_Step, ...], at: int) -> bool:
    """Return whether it does not matter if a branch is taken: all that it jumps over or repeats is not followed."""
    label = steps[at].code.operands[0]
    target = program.labels.get(label)
    if target is None or not label.startswith("$"):  # inline assembly's own: it waits for a barrier
        return True
    inside = steps[target:at] if target <= at else steps[at + 1 : target]
    return all(step.role == "skip" for step in inside)


def _step(code: Instruction, needed: set[str]) -> _Step:
    opcode, operands = code.opcode, code.operands
    head = opcode.split(".", 1)[0]
    if head == "bra" and operands:
        return _Step(code, "branch", "", ())
    if opcode in ("ret", "exit"):
        return _Step(code, "skip" if code.predicate else "end", "", ())
    if _accesses(opcode):
        return _Step(code, "access", "", ())
    if opcode.startswith(("tensormap.replace", "tensormap.cp")):
        return _Step(code, "descriptor", "", ())
    target = operands[0].split("|")[0] if operands else ""
    if target not in needed:
        return _Step(code, "skip", "", ())
    if opcode.startswith("ld.param"):
        return _Step(code, "load", target, ())
    if head == "setp":
        return _Step(code, "test", target, ())
    if FLOATING.search(opcode) or head not in FOLLOWED or head == "ld":
        return _Step(code, "compute", target, ("?",))
    sources = operands[1:2] if head in ("mov", "cvta", "shfl") else operands[1:]
    return _Step(code, "compute", target, tuple(sources))


def _accesses(opcode: str) -> bool:
    return ".global" in opcode and (
        opcode.startswith(("ld.global", "st.global", "cp.async.c", "atom", "red"))
        or kind(opcode) in ("tma_load", "tma_store")
    )


_REGISTER = re.compile(r"%[\w$]+")


def _followed_registers(program: PtxProgram, decided: Collection[int]) -> set[str]:
    """Return the registers on which addresses of accesses, their guards, and the branches in `decided` depend."""
    writers: dict[str, list[Instruction]] = {}
    for code in program.instructions:
        for register in _REGISTER.findall(code.operands[0]) if code.operands else ():
            writers.setdefault(register, []).append(code)
    pending: list[str] = []
    for at, code in enumerate(program.instructions):
        if _accesses(code.opcode) or (code.opcode.startswith("bra") and at in decided):
            pending += [code.predicate] if code.predicate else []
        if _accesses(code.opcode) or code.opcode.startswith("tensormap"):
            pending += [r for operand in _followed_operands(code) for r in _REGISTER.findall(operand)]
    needed: set[str] = set()
    while pending:
        register = pending.pop()
        if register in needed:
            continue
        needed.add(register)
        for code in writers.get(register, ()):
            head = code.opcode.split(".", 1)[0]
            pending += [code.predicate] if code.predicate else []
            if head in FOLLOWED and not FLOATING.search(code.opcode):
                pending += [r for o in code.operands[1:] for r in _REGISTER.findall(o)]
    return needed


def _followed_operands(code: Instruction) -> list[str]:
    """Return the operands that say where in global memory an access goes, and how much of it is masked."""
    if code.opcode.startswith("tensormap"):
        return list(code.operands)
    if code.opcode.startswith("cp.async.c"):
        return [code.operands[1], *code.operands[3:4]]
    addresses = [operand for operand in code.operands if operand.startswith("[")]
    described = [operand for operand in addresses if "{" in operand]
    return described or addresses[-1:]


def _pointer_parameters(program: PtxProgram, code: Instruction) -> set[int]:
    """Return the pointer parameters from which the address of an access is computed, whatever the path."""
    parameters = {name: index for index, (name, _) in enumerate(program.parameters)}
    writers: dict[str, list[Instruction]] = {}
    for other in program.instructions:
        for register in _REGISTER.findall(other.operands[0]) if other.operands else ():
            writers.setdefault(register, []).append(other)
    pending = [r for operand in _followed_operands(code) for r in _REGISTER.findall(operand)]
    seen: set[str] = set()
    found: set[int] = set()
    while pending:
        register = pending.pop()
        if register in seen:
            continue
        seen.add(register)
        for writer in writers.get(register, ()):
            if writer.opcode.startswith("ld.param"):
                index = parameters.get(writer.operands[1].strip("[] ").split("+")[0], -1)
                if index >= 0 and program.parameters[index][1] in ("u64", "b8"):
                    found.add(index)
            elif not writer.opcode.startswith(("ld.", "atom")):
                pending += [r for o in writer.operands[1:] for r in _REGISTER.findall(o)]
    return found


def _body(program: PtxProgram, steps: tuple[_Step, ...], head: int, end: int) -> _Body:
    inside = range(head, end + 1)
    branches = [at for at in inside if steps[at].role == "branch" and at != end]
    written: set[str] = set()
    carried: set[str] = set()
    for at in inside:
        step = steps[at]
        if step.role in ("skip", "branch", "end"):
            continue
        code = step.code
        read = [r for o in code.operands[1 if step.role != "access" else 0 :] for r in _REGISTER.findall(o)]
        read += [code.predicate] if code.predicate else []
        carried |= {r for r in read if r not in written}
        written |= {step.target} if step.target else set()
    carried &= {steps[at].target for at in inside if steps[at].target}
    moving = set(carried)
    sums = True
    for at in inside:
        step = steps[at]
        if step.target in carried and step.role in ("compute", "test"):
            head_name = step.code.opcode.split(".", 1)[0]
            sums &= head_name in ("add", "sub", "mov") and not step.code.predicate
        if step.target and any(r in moving for o in step.code.operands[1:] for r in _REGISTER.findall(o)):
            moving.add(step.target)
    decided = any(steps[at].code.predicate in moving or not steps[at].code.predicate for at in branches)
    return _Body(sums and not decided, tuple(sorted(carried)))
