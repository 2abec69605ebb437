"""Prepare a program for being followed: what each instruction is for, and which registers matter.

Only instructions that addresses, guards and branches depend on are executed; all others are skipped.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Sequence
from typing import Literal, NamedTuple

from kopt.estimate.arithmetic import COMPUTED, FLOATING
from kopt.estimate.instructions import Instruction, PtxProgram, kind

FOLLOWED = ("mov", "cvta", "shfl", "setp", "ld", *COMPUTED)
"""Instructions whose results follow from their operands here."""

_REGISTER = re.compile(r"%[\w$]+")

Role = Literal["compute", "unpack", "test", "load", "access", "descriptor", "branch", "end", "skip"]
"""What a step does: `load` reads a parameter, `descriptor` makes a tensor descriptor, `unpack` sets several registers
to the parts of one."""


class Step(NamedTuple):
    """One instruction, prepared."""

    code: Instruction
    role: Role
    target: str = ""
    """The register that is set."""
    sources: tuple[str, ...] = ()
    """Operands from which it is computed; `?` where its value is not known."""

    @property
    def targets(self) -> set[str]:
        """The registers that are set; none for an access."""
        return set(_registers(self.code.operands[:1])) if self.role == "unpack" else {self.target} - {""}


class Body(NamedTuple):
    """A loop's body, as far as it matters for jumping over iterations."""

    simple: bool
    """Whether its branches do not depend on the iteration, and what iterations hand on changes by sums alone."""
    carried: tuple[str, ...]
    """Registers that one iteration hands to the next."""


def prepared_steps(program: PtxProgram) -> tuple[Step, ...]:
    """Return the steps of a program, without branches around code that nothing followed depends on."""
    decided: frozenset[int] = frozenset()
    while True:
        needed = _followed_registers(program, decided)
        steps = tuple(_step(code, needed) for code in program.instructions)
        steps = tuple(
            Step(step.code, "skip") if step.role == "branch" and step.code.predicate and at not in decided
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


def _is_idle(program: PtxProgram, steps: tuple[Step, ...], at: int) -> bool:
    """Return whether it does not matter if a branch is taken: all that it jumps over or repeats is not followed."""
    label = steps[at].code.operands[0]
    target = program.labels.get(label)
    if target is None or not label.startswith("$"):  # inline assembly's own: it waits for a barrier
        return True
    inside = steps[target:at] if target <= at else steps[at + 1 : target]
    return all(step.role == "skip" for step in inside)


def _step(code: Instruction, needed: set[str]) -> Step:
    """Prepare an instruction, given the registers whose values are needed."""
    opcode, operands = code.opcode, code.operands
    head = opcode.split(".", 1)[0]
    if head == "bra" and operands:
        return Step(code, "branch")
    if opcode in ("ret", "exit"):
        return Step(code, "skip" if code.predicate else "end")
    if _accesses(opcode):
        return Step(code, "access")
    if opcode.startswith(("tensormap.replace", "tensormap.cp")):
        return Step(code, "descriptor")
    registers = operands[0].split("|") if operands else [""]
    target = registers[-1] if head == "elect" else registers[0]
    if target.startswith("{") and opcode.startswith("mov.b"):
        return Step(code, "unpack" if needed.intersection(_registers(operands[:1])) else "skip")
    if target not in needed:
        return Step(code, "skip")
    if opcode.startswith("ld.param"):
        return Step(code, "load", target)
    if head == "setp":
        return Step(code, "test", target)
    if head == "elect":
        return Step(code, "compute", target, ("%laneid",))
    if FLOATING.search(opcode) or head not in FOLLOWED or head == "ld":
        return Step(code, "compute", target, ("?",))
    sources = operands[1:2] if head in ("mov", "cvta", "shfl") else operands[1:]
    if head == "mov" and sources[0].startswith("{"):
        sources = tuple(part.strip() for part in sources[0].strip("{} ").split(","))
    return Step(code, "compute", target, tuple(sources))


def _accesses(opcode: str) -> bool:
    """Return whether an instruction reads or writes global memory."""
    return ".global" in opcode and (
        opcode.startswith(("ld.global", "st.global", "cp.async.c", "atom", "red"))
        or kind(opcode) in ("tma_load", "tma_store")
    )


def _followed_registers(program: PtxProgram, decided: Collection[int]) -> set[str]:
    """Return the registers on which addresses of accesses, their guards, and the branches in `decided` depend."""
    writers = _writers(program)
    pending: list[str] = []
    for at, code in enumerate(program.instructions):
        if _accesses(code.opcode) or (code.opcode.startswith("bra") and at in decided):
            pending += [code.predicate] if code.predicate else []
        if _accesses(code.opcode) or code.opcode.startswith("tensormap"):
            pending += _registers(_followed_operands(code))
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
                pending += _registers(code.operands[1:])
    return needed


def _writers(program: PtxProgram) -> dict[str, list[Instruction]]:
    """Return the instructions that set each register."""
    writers: dict[str, list[Instruction]] = {}
    for code in program.instructions:
        for register in _registers(code.operands[:1]):
            writers.setdefault(register, []).append(code)
    return writers


def _registers(operands: Iterable[str]) -> list[str]:
    return [register for operand in operands for register in _REGISTER.findall(operand)]


def _followed_operands(code: Instruction) -> list[str]:
    """Return the operands that say where in global memory an access goes, and how much of it is masked."""
    if code.opcode.startswith("tensormap"):
        return list(code.operands)
    if code.opcode.startswith("cp.async.c"):
        return [code.operands[1], *code.operands[3:4]]
    addresses = [operand for operand in code.operands if operand.startswith("[")]
    described = [operand for operand in addresses if "{" in operand]
    return described or addresses[-1:]


def pointer_parameters(program: PtxProgram, code: Instruction) -> set[int]:
    """Return the pointer parameters from which the address of an access is computed, whatever the path."""
    parameters = {name: index for index, (name, _) in enumerate(program.parameters)}
    writers = _writers(program)
    pending = _registers(_followed_operands(code))
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
                pending += _registers(writer.operands[1:])
    return found


def loop_body(steps: tuple[Step, ...], head: int, end: int) -> Body:
    """Return what matters of the loop between two instructions.

    Args:
        steps: those of the whole program.
        head: index of the loop's first instruction.
        end: index of the branch that goes back to it.
    """
    inside = steps[head : end + 1]
    carried = _carried(inside)
    moving = set(carried)
    sums = True
    for step in inside:
        if step.targets.intersection(carried):
            name = step.code.opcode.split(".", 1)[0]
            sums &= name in ("add", "sub", "mov") and not step.code.predicate
        if any(register in moving for register in _registers(step.code.operands[1:])):
            moving |= step.targets
    branches = [step.code for step in inside[:-1] if step.role == "branch"]
    changing = any(code.predicate in moving or not code.predicate for code in branches)
    return Body(sums and not changing, tuple(sorted(carried)))


def _carried(body: tuple[Step, ...]) -> set[str]:
    """Return the registers that are set in a loop's body, and read in it before they are set."""
    written: set[str] = set()
    carried: set[str] = set()
    for step in body:
        if step.role in ("skip", "branch", "end"):
            continue
        code = step.code
        read = _registers(code.operands[1 if step.role != "access" else 0 :])
        read += [code.predicate] if code.predicate else []
        carried |= {register for register in read if register not in written}
        written |= step.targets
    return carried & written


def exit_predicate(program: PtxProgram, steps: Sequence[Step], head: int, end: int) -> str:
    """Return the predicate register that decides the first branch out of a loop; empty if no branch leaves the loop.

    Args:
        program: the kernel's code.
        steps: its prepared instructions.
        head: index of the loop's first instruction.
        end: index of its last one.
    """
    for at in range(head, end):
        code = steps[at].code
        if steps[at].role == "branch" and code.predicate:
            target = program.labels.get(code.operands[0], at)
            if not head <= target <= end or _ends_outside(program, steps[at + 1], at + 1, head, end):
                return code.predicate
    return ""


def _ends_outside(program: PtxProgram, step: Step, at: int, head: int, end: int) -> bool:
    """Return whether an instruction ends the program, or always jumps out of a loop."""
    target = program.labels.get(step.code.operands[0], at) if step.role == "branch" else at
    return step.role == "end" or (not step.code.predicate and not head <= target <= end)
