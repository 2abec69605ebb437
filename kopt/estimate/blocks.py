"""Find the loops of a kernel from its branches, however the compiler has laid them out.

A loop is what leads back to an instruction that control has come from.  Its first instruction in that sense need not
be the first in the text: of a loop that is laid out around its middle, the end of an iteration comes first.
"""

from __future__ import annotations

from typing import NamedTuple

from kopt.estimate.instructions import PtxProgram


class ControlFlow(NamedTuple):
    """The order and the loops of a kernel's instructions."""

    order: list[int]
    """Where each instruction comes: behind all that lead to it, but for the ends of loops around it."""
    loops: dict[int, frozenset[int]]
    """The instructions of each loop by the one at which iterations begin."""
    around: list[tuple[int, ...]]
    """The loops around each instruction, from the outermost, by the instruction at which they begin."""


def jump_target(program: PtxProgram, at: int) -> int | None:
    """Return the index to which a branch leads; None for other instructions, unknown labels and waits.

    Waits for barriers are loops with labels of their own: all others begin with `$`.
    """
    instruction = program.instructions[at]
    if not instruction.opcode.startswith("bra") or not instruction.operands:
        return None
    target = program.labels.get(instruction.operands[0])
    waits = target is not None and target <= at and not instruction.operands[0].startswith("$")
    return None if waits else target


def control_flow(program: PtxProgram) -> ControlFlow:
    """Find the order and the loops of a kernel's instructions."""
    length = len(program.instructions)
    if not length:
        return ControlFlow([], {}, [])
    firsts = _first_instructions(program)
    ends = [*firsts[1:], length]
    block_of = {first: block for block, first in enumerate(firsts)}
    leads_to = [[block_of[at] for at in _followers(program, end - 1) if at in block_of] for end in ends]
    finished, back = _visited(leads_to)
    rank = {block: place for place, block in enumerate(reversed(finished))}
    order = [0] * length
    around: list[tuple[int, ...]] = [()] * length
    loops = {}
    for head, blocks in _loops(leads_to, back).items():
        loops[firsts[head]] = frozenset(at for block in blocks for at in range(firsts[block], ends[block]))
    for block, (first, end) in enumerate(zip(firsts, ends, strict=True)):
        heads = sorted((head for head, inside in loops.items() if first in inside), key=lambda head: -len(loops[head]))
        for at in range(first, end):
            order[at], around[at] = rank.get(block, len(firsts)) * length + at, tuple(heads)
    return ControlFlow(order, loops, around)


def _first_instructions(program: PtxProgram) -> list[int]:
    """Return the first instruction of each block: a run of instructions that control enters and leaves at its ends."""
    firsts = {0}
    for at, instruction in enumerate(program.instructions):
        if (target := jump_target(program, at)) is not None:
            firsts |= {target, at + 1}
        elif instruction.opcode in ("ret", "exit"):
            firsts.add(at + 1)
    return sorted(at for at in firsts if at < len(program.instructions))


def _followers(program: PtxProgram, at: int) -> list[int]:
    """Return the instructions that can come after one."""
    instruction, target = program.instructions[at], jump_target(program, at)
    ends = instruction.opcode in ("ret", "exit") or target is not None
    after = [] if ends and not instruction.predicate else [at + 1]
    return after if target is None else [target, *after]


def _visited(leads_to: list[list[int]]) -> tuple[list[int], list[tuple[int, int]]]:
    """Return the blocks in the order in which a search in depth leaves them, and the edges that lead back."""
    finished: list[int] = []
    back: list[tuple[int, int]] = []
    entered, open_blocks = {0}, {0}
    stack = [(0, iter(leads_to[0]))]
    while stack:
        block, rest = stack[-1]
        following = next(rest, None)
        if following is None:
            stack.pop()
            open_blocks.discard(block)
            finished.append(block)
        elif following in open_blocks:
            back.append((block, following))
        elif following not in entered:
            entered.add(following)
            open_blocks.add(following)
            stack.append((following, iter(leads_to[following])))
    return finished, back


def _loops(leads_to: list[list[int]], back: list[tuple[int, int]]) -> dict[int, set[int]]:
    """Return the blocks of each loop by its first one: those from which an edge leads back to it."""
    comes_from: list[list[int]] = [[] for _ in leads_to]
    for block, following in enumerate(leads_to):
        for other in following:
            comes_from[other].append(block)
    loops: dict[int, set[int]] = {}
    for end, head in back:
        inside = loops.setdefault(head, {head})
        pending = [end]
        while pending:
            block = pending.pop()
            if block not in inside:
                inside.add(block)
                pending += comes_from[block]
    return loops
