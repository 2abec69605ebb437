"""Programs of a launch go through random branches and short loops as an interpreter of each alone does."""

import operator
import random

import pytest

from kopt.estimate.instructions import PtxProgram, parse
from kopt.estimate.registers import sample
from kopt.estimate.walk import walk

COMPARE = {"lt": operator.lt, "gt": operator.gt, "ne": operator.ne, "ge": operator.ge}
PROGRAMS = 20


def executed(program: PtxProgram, block: int) -> list[int]:
    """How often one program runs each instruction."""
    registers = {f"%r{at}": 0 for at in range(5)} | {f"%p{at}": 0 for at in range(4)} | {"%ctaid.x": block}
    counts, at = [0] * len(program.instructions), 0
    while at < len(counts):
        counts[at] += 1
        code = program.instructions[at]
        values = [registers[name] if name in registers else int(name) for name in code.operands[1:]]
        runs = not code.predicate or bool(registers[code.predicate]) != code.negated
        if code.opcode == "ret" and runs:
            break
        if code.opcode.startswith("bra"):
            at = program.labels[code.operands[0]] if runs else at + 1
            continue
        if code.opcode.startswith("add"):
            registers[code.operands[0]] = sum(values)
        elif code.opcode.startswith("mov"):
            registers[code.operands[0]] = values[0]
        elif code.opcode.startswith("setp"):
            registers[code.operands[0]] = int(COMPARE[code.opcode.split(".")[1]](*values))
        at += 1
    return counts


def written(draw: random.Random) -> str:
    """Blocks with jumps forward, and a loop of 1 to 3 iterations around some of them."""
    blocks = draw.randint(3, 12)
    first = draw.randint(0, blocks - 1)
    last = draw.randint(first, blocks - 1)
    lines = ["mov.u32 %r0, %ctaid.x;", *(f"mov.b32 %r{at}, 0;" for at in range(1, 5))]
    lines += [f"setp.ne.s32 %p{at}, %r1, 0;" for at in range(4)]
    for block in range(blocks):
        lines += ["mov.b32 %r4, 0;"] * (block == first) + [f"$L{block}:"]
        for _ in range(draw.randint(0, 3)):
            test = f"setp.{draw.choice(list(COMPARE))}.s32 %p{draw.randint(0, 2)}, %r{draw.randint(0, 2)}"
            others = ["add.s32 %r1, %r1, 1;", "add.s32 %r0, %r0, -7;", "add.s32 %r2, %r0, %r1;", "@%p0 ret;"]
            lines.append(draw.choice([*others, f"{test}, {draw.randint(-5, 30)};"]))
        furthest = first if block < first else last if block <= last else blocks
        if block < furthest and draw.random() < 0.6:
            to = draw.randint(block + 1, furthest)
            lines.append(f"@{draw.choice(['', '!'])}%p{draw.randint(0, 2)} bra $L{to};")
        if block == last:
            lines += ["add.s32 %r4, %r4, 1;", f"setp.lt.s32 %p3, %r4, {draw.randint(1, 3)};", f"@%p3 bra $L{first};"]
    return "\n".join([*lines, f"$L{blocks}:", "ret;"])


@pytest.mark.parametrize("seed", range(200))
def test_instructions_run_as_often_as_where_each_program_is_executed_alone(seed):
    program = parse(written(random.Random(seed)))
    each = [executed(program, block) for block in range(PROGRAMS)]
    found = walk(program, sample((PROGRAMS, 1, 1), 128, 132), {})
    means = [sum(counts) / PROGRAMS for counts in zip(*each, strict=True)]
    assert [found.counts.get(at, 0.0) for at in range(len(means))] == pytest.approx(means)
