"""Execute a kernel's address arithmetic: which bytes the sampled programs of a launch access, loop by loop.

In contrast to `kopt.estimate.walk`, which asks how often an instruction runs on average, this follows programs spread
over the whole grid, each along its own path, to the end of every loop.  Long loops whose registers move by equal steps
are followed for their first and last iterations; what lies between is a progression.  What depends on loaded values is
not known, and said so.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from kopt.estimate.arithmetic import Lanes, MaybeLanes, arithmetic, comparison, moved, packed, unpacked
from kopt.estimate.full_size.accesses import Access, Accesses, Descriptors, Mask, Threads, parameter_of
from kopt.estimate.full_size.loops import FIRST, Jump, Loop, Rounds, State
from kopt.estimate.full_size.program_steps import (
    Body,
    Step,
    exit_predicate,
    loop_body,
    pointer_parameters,
    prepared_steps,
)
from kopt.estimate.instructions import Instruction, PtxProgram, access_bytes, kind, loop_ends
from kopt.estimate.registers import ADDRESS, POINTER_SHIFT, integer

STEP_LIMIT = 60_000
"""Instructions after which following a launch is given up: then its accesses are not known."""
UNDECIDED_LIMIT = 3
"""Passes after which a branch that cannot be decided leaves its loop."""


class Executor:
    """Execute one launch for its sampled threads."""

    def __init__(
        self, program: PtxProgram, threads: Threads, scalars: Mapping[int, int], contents: Mapping[int, int],
        descriptors: Mapping[int, tuple[tuple[int, ...], tuple[int, ...]]], step_limit: int = STEP_LIMIT,
    ) -> None:  # fmt: skip
        """Prepare.

        Args:
            program: the kernel's code.
            threads: the threads to follow.
            scalars: values of scalar parameters, by index.
            contents: the one value that fills the memory behind pointer parameters, by index, where it is known.
            descriptors: strides in bytes and box of the tensor descriptors among the parameters, by index.
            step_limit: instructions after which following the launch is given up.
        """
        self._program, self._threads, self._descriptors = program, threads, Descriptors(descriptors)
        self._scalars, self._contents, self._step_limit = scalars, contents, step_limit
        self._parameters = {name: index for index, (name, _) in enumerate(program.parameters)}
        self._values: dict[str, MaybeLanes] = {}
        self._tests: dict[str, tuple[str, Lanes, Lanes]] = {}
        self._result = Accesses()
        self._rounds = Rounds()
        self._latest: dict[int, Access] = {}  # by the index of the instruction
        self._ends = loop_ends(program)
        self._steps = prepared_steps(program)
        self._loops: dict[int, Loop] = {}
        self._bodies: dict[tuple[int, int], Body] = {}
        self._undecided: dict[int, int] = {}
        self._bases: dict[int, set[int]] = {}  # what `pointer_parameters` gives, by the instruction's identity
        self._lanes = len(threads.tid)

    def run(self) -> Accesses:
        """Execute the launch."""
        if any(code.opcode.startswith(("brx", "setmaxnreg")) for code in self._program.instructions):
            self._result.complete, self._result.steps_to_end = False, math.inf  # warps do different work
            return self._result
        waiting: dict[int, Mask] = {0: np.ones(self._lanes, dtype=bool)}
        end = len(self._steps)
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
                self._result.steps += 1
                if self._result.steps > self._step_limit:
                    self._result.complete = False
                    self._result.steps_to_end = self._rounds.steps_to_end()
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
        """Return the values of a register, special register, literal or address of a parameter; None when unknown."""
        if operand.startswith("%"):
            known = self._values.get(operand)
            return known if known is not None else self._threads.special_register(operand)
        literal = integer(operand)
        if literal is None:
            index = self._parameters.get(operand)
            return None if index is None else np.full(self._lanes, (index + 1) << POINTER_SHIFT, dtype=np.int64)
        return np.full(self._lanes, literal, dtype=np.int64)

    def _parameter(self, code: Instruction) -> MaybeLanes:
        """Return the values of a kernel parameter: a known scalar, or a made-up address for a pointer."""
        index = self._parameters.get(code.operands[1].strip("[] ").split("+")[0])
        if index is None:
            return None
        if index in self._scalars:
            return moved(code.opcode, np.full(self._lanes, self._scalars[index], dtype=np.int64))
        if self._program.parameters[index][1] in ("u64", "b8"):
            return np.full(self._lanes, (index + 1) << POINTER_SHIFT, dtype=np.int64)
        return None

    def _execute(self, at: int, step: Step, mask: Mask, whole: bool) -> None:
        """Execute an instruction that is not a branch, in the threads of the mask; `whole` when these are all."""
        code = step.code
        if step.role == "access":
            self._access(at, code, mask)
            if code.opcode.startswith(("ld.global", "atom")):
                loaded = self._loaded(code)
                for register in re.findall(r"%\w+", code.operands[0]):
                    self._set(register, loaded, mask, whole, code)
        elif step.role == "descriptor":
            self._make_descriptor(code)
        elif step.role == "test":
            self._test(code, step.target, mask, whole)
        elif step.role == "load":
            self._set(step.target, self._parameter(code), mask, whole, code)
        elif step.role == "unpack":
            self._unpack(code, mask, whole)
        else:
            self._set(step.target, self._computed(step, mask), mask, whole, code)

    def _computed(self, step: Step, mask: Mask) -> MaybeLanes:
        values = [self._value(source) for source in step.sources]
        lanes = [value for value in values if value is not None]
        if len(lanes) < len(values) or not lanes:
            return None
        opcode = step.code.opcode
        head = opcode.split(".", 1)[0]
        if head == "elect":  # the first lane of a warp is chosen
            return np.where(lanes[0] == 0, np.int64(1), np.int64(0))
        if head == "shfl":
            return lanes[0] if self._threads.agree_by_warp(lanes[0]) else None
        if head in ("mov", "cvta"):
            return packed(opcode, lanes) if step.code.operands[1].startswith("{") else moved(opcode, lanes[0])
        value = arithmetic(opcode, head, lanes)
        if not self._result.wrapped and value is not None and head in ("add", "mul", "mad", "shl"):
            self._result.wrapped = _wraps(opcode, head, lanes, mask)
        return value

    def _unpack(self, code: Instruction, mask: Mask, whole: bool) -> None:
        """Set the registers that get the parts of another."""
        registers = [name.strip() for name in code.operands[0].strip("{} ").split(",")]
        value = self._value(code.operands[1])
        parts = [None] * len(registers) if value is None else unpacked(code.opcode, value, len(registers))
        for register, part in zip(registers, parts, strict=True):
            self._set(register, part, mask, whole, code)

    def _set(self, register: str, value: MaybeLanes, mask: Mask, whole: bool, code: Instruction) -> None:
        """Set a register where the mask and the instruction's guard hold."""
        self._tests.pop(register, None)
        if code.predicate and value is not None:
            guard, old = self._values.get(code.predicate), self._values.get(register)
            if guard is None:
                value = value if old is not None and np.array_equal(old, value) else None
            elif old is not None:
                value = np.where((guard != 0) != code.negated, value, old)
        if value is not None and not whole:
            old = self._values.get(register)
            value = value if old is None else np.where(mask, value, old)
        self._values[register] = value

    def _test(self, code: Instruction, target: str, mask: Mask, whole: bool) -> None:
        """Execute a comparison, and remember its sides for jumping over iterations."""
        left, right = self._value(code.operands[1]), self._value(code.operands[2])
        known = left is not None and right is not None and len(code.operands) == 3
        compared = comparison(code.opcode, left, right) if known and left is not None and right is not None else None
        if compared is None:
            self._set(target, None, mask, whole, code)
            return
        holds, left, right = compared
        self._set(target, holds.astype(np.int64), mask, whole, code)
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
        """Have threads wait at the instructions that follow a branch; the first that waits is executed next."""
        target = self._program.labels.get(code.operands[0])
        if target is None:
            _wait(waiting, at + 1, mask)
            return
        if not code.predicate:
            if target <= at:
                self._rounds.add(
                    target,
                    self._result.steps,
                    self._tests.get(exit_predicate(self._program, self._steps, target, at)),
                    mask,
                )
            _wait(waiting, target, mask)
            return
        value = self._values.get(code.predicate)
        if value is None:
            self._undecided_branch(at, target, mask, waiting)
            return
        taken = ((value != 0) != code.negated) & mask
        rest = mask & ~taken
        if at == self._ends.get(target):
            self._rounds.add(target, self._result.steps, self._tests.get(code.predicate), taken)
        if rest.any():
            _wait(waiting, at + 1, rest)
        if target <= at:
            taken = self._go_round(at, target, code, taken, waiting)
        if taken.any():
            _wait(waiting, target, taken)
        else:
            self._loops.pop(target, None)

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
        if id(code) not in self._bases:
            self._bases[id(code)] = pointer_parameters(self._program, code)
        for index in self._bases[id(code)] or {-1}:
            self._result.unknown[index] = self._result.unknown.get(index, 0.0) + amount

    def _go_round(self, at: int, head: int, code: Instruction, taken: Mask, waiting: dict[int, Mask]) -> Mask:
        """Have threads begin the next iteration of a loop, or a later one where what lies between is a progression.

        Args:
            at: index of the branch.
            head: index of the loop's first instruction.
            code: the branch.
            taken: threads that go round.
            waiting: threads that wait elsewhere.

        Returns:
            The threads that go on at the loop's head.
        """
        loop = self._loops.get(head)
        if loop is not None and loop.jump is not None:
            return self._try_further(loop, loop.jump, taken, waiting)
        if loop is None or not np.array_equal(loop.mask, taken):
            loop = self._loops[head] = Loop(taken.copy())
        if loop.rests():
            return taken
        test = self._tests.get(code.predicate)
        if (head, at) not in self._bodies:
            self._bodies[head, at] = loop_body(self._steps, head, at)
        body = self._bodies[head, at]
        if test is None or not body.simple or not taken.any():
            loop.given_up = True
            return taken
        comparison, left, right = test
        loop.states.append({name: v for name in body.carried if (v := self._values.get(name)) is not None})
        loop.tests.append((left, right))
        loop.marks.append(len(self._result.visits))
        loop.unknown = [*loop.unknown[-1:], dict(self._result.unknown)]
        if len(loop.states) < FIRST:
            return taken
        steps = loop.register_steps(body.carried)
        skipped = loop.skipped_iterations(comparison, stay=not code.negated)
        visits = loop.last_visits(self._result.visits)
        if steps is None or skipped is None or visits is None or not self._steps_agree(visits):
            loop.rest()
            return taken
        before, now = loop.unknown
        unknown = {index: now[index] - before.get(index, 0.0) for index in now if math.isfinite(now[index])}
        loop.jump = Jump(self._state(waiting), steps, skipped, visits, unknown)
        self._try_next(loop, loop.jump)
        return taken

    def _steps_agree(self, visits: list[tuple[Access, Access]]) -> bool:
        """Return whether all threads of a program move by the same distance."""
        return all(self._threads.agree_by_program(new.address - old.address, new.active) for old, new in visits)

    def _try_next(self, loop: Loop, jump: Jump) -> None:
        """Move the registers to a later iteration."""
        jump.tried += 1
        for register, value in loop.states[-1].items():
            self._values[register] = np.where(loop.mask, value + jump.count * jump.steps[register], value)

    def _try_further(self, loop: Loop, jump: Jump, taken: Mask, waiting: dict[int, Mask]) -> Mask:
        """Look at an iteration after a jump: go on to a later one, keep the jump, or take it back.

        Returns:
            The threads that go on at the loop's head.
        """
        found = self._result.visits[jump.state.visits :]
        if not np.array_equal(taken, loop.mask) or not jump.is_progression(found, jump.count):
            self._return_to(jump.state, waiting)
            loop.jump = jump.shorter()
            if loop.jump is None:
                loop.rest()
            else:
                self._try_next(loop, loop.jump)
            return loop.mask
        if not jump.over:
            del self._result.visits[jump.state.visits :]
            self._result.unknown = dict(jump.state.unknown)
            self._try_next(loop, jump)
            return taken
        loop.begin_again()
        going = jump.skipped > 0
        for old, visit in jump.visits:
            moved = visit.address - old.address
            self._result.visits.append(
                replace(
                    visit, base=visit.base + moved, active=visit.active & going, certain=visit.certain & going,
                    step=moved, count=jump.skipped,
                )
            )  # fmt: skip
        for index, amount in jump.unknown.items():
            self._result.unknown[index] += amount * float(jump.skipped.max())
        return taken

    def _state(self, waiting: dict[int, Mask]) -> State:
        return State(
            dict(self._values), dict(self._tests), dict(self._result.unknown), dict(self._undecided), dict(waiting),
            len(self._result.visits), self._descriptors.state(),
        )  # fmt: skip

    def _return_to(self, state: State, waiting: dict[int, Mask]) -> None:
        self._values, self._tests = dict(state.values), dict(state.tests)
        self._result.unknown, self._undecided = dict(state.unknown), dict(state.undecided)
        self._descriptors.return_to(state.made)
        del self._result.visits[state.visits :]
        waiting.clear()
        waiting.update(state.waiting)

    # Memory

    def _address(self, code: Instruction) -> MaybeLanes:
        """Return the byte addresses of an access."""
        return self._address_of(next((o for o in reversed(code.operands) if o.startswith("[") and "%" in o), ""))

    def _address_of(self, operand: str) -> MaybeLanes:
        """Return the values of a `[register + offset]` operand."""
        match = ADDRESS.match(operand)
        base = self._value(match[1]) if match else None
        if match is None or base is None:
            return None
        return base + (integer(match[2]) or 0) if match[2] else base

    def _access(self, at: int, code: Instruction, mask: Mask) -> None:
        """Note a visit to an access, or that its address is not known."""
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
        self._note(Access(at, name, address, active, certain, size or 4))

    def _descriptor_access(self, at: int, code: Instruction, name: str, active: Mask, certain: Mask) -> None:
        """Note a visit to a copy by descriptor: the rows of one box."""
        operand = next((o for o in code.operands if "{" in o and o.startswith("[")), "")
        pointer, _, inner = operand.partition("{")
        coordinates = [self._value(part.strip(" }]")) for part in inner.split(",")]
        known = [c for c in coordinates if c is not None]
        descriptor = self._descriptors.at(self._value(pointer.strip("[ ,")), active)
        if descriptor is None or len(known) < len(coordinates):
            self._not_known(code, math.inf)
            return
        address = descriptor.base.copy()
        for coordinate, stride in zip(known, descriptor.strides, strict=False):
            address += coordinate * stride
        rows = descriptor.rows()
        self._note(Access(at, name, address, active, certain, descriptor.row_bytes, rows=rows))

    def _note(self, visit: Access) -> None:
        """Add a visit; of visits that differ by a distance alone the arrays are kept once."""
        self._latest[visit.at] = visit.sharing(self._latest.get(visit.at))
        self._result.visits.append(self._latest[visit.at])

    def _make_descriptor(self, code: Instruction) -> None:
        """Follow the instructions with which a kernel makes a descriptor."""
        if "cp_fenceproxy" in code.opcode:
            self._descriptors.finish(self._address_of(code.operands[0]))
            return
        place = code.operands[1] if len(code.operands) > 2 else ""
        self._descriptors.write(f"{code.opcode.split('.')[3]}.{integer(place) or 0}", self._value(code.operands[-1]))


def _wait(waiting: dict[int, Mask], at: int, mask: Mask) -> None:
    """Add threads to those that wait at an instruction."""
    waiting[at] = waiting[at] | mask if at in waiting else mask


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
