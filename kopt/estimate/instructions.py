"""Parse PTX into instructions, and count the instructions of each kind.

The only module that reads the text of PTX.  `kopt.estimate.walk` follows what instructions do to addresses and loops,
`kopt.estimate.cycles` knows how long they take.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from functools import cache
from typing import NamedTuple

_LABEL = re.compile(r"^([$\w]+):(?!:)\s*(.*)$")
_PREDICATE = re.compile(r"^@(!?)(%?[\w]+)\s+(.*)$")
_SCOPES = ("{", "}", "(", ")")


class Instruction(NamedTuple):
    """One PTX instruction."""

    opcode: str
    """E.g. `ld.global.v4.b32`."""
    operands: tuple[str, ...]
    predicate: str = ""
    """Register whose value guards the instruction, or empty."""
    negated: bool = False
    """Whether the instruction runs where the predicate is false."""


class PtxProgram(NamedTuple):
    """The body of one PTX entry (a kernel)."""

    instructions: tuple[Instruction, ...]
    labels: dict[str, int]
    """Index, by label, of the instruction that follows the label."""
    parameters: tuple[tuple[str, str], ...]
    """Name and type (`u64`, `u32`, `f32`, `b8`) of every parameter, in order."""


_DECLARED = re.compile(
    r"^\s*\.param\s+(?:\.align\s+\d+\s+)?\.(\w+)\s+(?:\.ptr\s+)?[^,\n)]*?(\w+)(?:\[\d+\])?\s*,?\s*$", re.M
)


def parse(ptx: str) -> PtxProgram:
    """Parse the single entry of a PTX text; lines that are no PTX are skipped or become instructions of no kind."""
    instructions: list[Instruction] = []
    labels: dict[str, int] = {}
    pending = ""
    for raw in ptx.splitlines():
        line = raw.split("//", 1)[0].strip()
        if label := _LABEL.match(line):
            labels.setdefault(label[1], len(instructions))
            line = label[2]
        if not line or line in _SCOPES or line.startswith("."):
            continue
        *complete, pending = (pending + " " + line).split(";")
        instructions += [_instruction(text.strip(" {}")) for text in complete if text.strip(" {}")]
    parameters = tuple((name, kind) for kind, name in _DECLARED.findall(ptx))
    return PtxProgram(tuple(instructions), labels, parameters)


def _instruction(text: str) -> Instruction:
    predicate, negated = "", False
    if guard := _PREDICATE.match(text):
        predicate, negated, text = guard[2], bool(guard[1]), guard[3]
    opcode, _, rest = text.partition(" ")
    opcode, tab, more = opcode.partition("\t")
    return Instruction(opcode, _operands((more + " " + rest) if tab else rest), predicate, negated)


def _operands(text: str) -> tuple[str, ...]:
    """Split operands at the commas outside of brackets."""
    parts, depth, start = [], 0, 0
    for at, char in enumerate(text):
        if char in "{[(":
            depth += 1
        elif char in "}])":
            depth -= 1
        elif char == "," and depth == 0:
            parts.append(text[start:at].strip())
            start = at + 1
    parts.append(text[start:].strip())
    return tuple(part for part in parts if part)


def access_bytes(opcode: str) -> int:
    """Return the bytes that one thread moves with a load or store (16 for `ld.global.v4.b32`)."""
    width = re.search(r"\.[bsuf](\d+)(?:x(\d))?$", opcode)
    if not width:
        return 4
    vector = re.search(r"\.v(\d)", opcode)
    return int(width[1]) // 8 * (int(vector[1]) if vector else 1)


_KINDS: tuple[tuple[str, re.Pattern[str]], ...] = tuple(
    (kind, re.compile(pattern))
    for kind, pattern in (
        ("tma_load", r"cp\.async\.bulk.*shared::(cta|cluster)\.global"),
        ("tma_store", r"cp\.async\.bulk.*\.global\.shared"),
        ("cp_async", r"cp\.async\.(ca|cg)\."),
        ("async_wait", r"(cp\.async.*(commit|wait)|mbarrier|fence)"),
        ("wgmma", r"wgmma\.mma_async"),
        ("tcgen05", r"tcgen05\.mma"),
        ("mma", r"(mma\.sync|wmma\.mma)"),
        ("wgmma_control", r"wgmma\."),
        ("load_global_wide", r"ld\.global.*\.(v2|v4|v8)\.|ld\.global.*\.b128"),
        ("load_global", r"ld\.global"),
        ("store_global_wide", r"st\.global.*\.(v2|v4|v8)\.|st\.global.*\.b128"),
        ("store_global", r"st\.global"),
        ("atomic", r"(atom|red)\."),
        ("load_shared", r"(ld\.shared|ldmatrix)"),
        ("store_shared", r"(st\.shared|stmatrix)"),
        ("load_local", r"(ld|st)\.local"),
        ("barrier", r"(bar|barrier)\."),
        ("shuffle", r"(shfl|redux)"),
        ("special", r"(ex2|lg2|rsqrt|sqrt|rcp|sin|cos|tanh|div\.(full|approx|rn))"),
        ("fused_multiply_add", r"fma\."),
        ("float", r"(add|sub|mul|min|max|neg|abs)\..*(f16|f32|f64|bf16)"),
        ("divide_integer", r"(div|rem)\.[su]"),
        ("convert", r"cvt\."),
        ("branch", r"(bra|ret|exit)"),
        ("predicate", r"(setp|selp)"),
        ("move", r"(mov|cvta|ld\.param)"),
    )
)


@cache
def kind(opcode: str) -> str:
    """Return the kind of an instruction; `integer` for one of no other kind."""
    return next((name for name, pattern in _KINDS if pattern.match(opcode)), "integer")


def instruction_mix(ptx: str) -> dict[str, int]:
    """Count the instructions of each kind in a PTX text (not how often they run).

    Returns:
        Counts by the kinds of `kind`; the same inside loops by `loop_` and the kind; `guarded` (global accesses under a
        predicate), `total` and `loop_total`.  All keys are always present.
    """
    program = parse(ptx)
    instructions = program.instructions
    loops = loop_ends(program)
    inside = [code for at, code in enumerate(instructions) if any(head <= at <= end for head, end in loops.items())]
    guarded = [code for code in instructions if code.predicate]
    mix = _counted(instructions, "") | _counted(inside, "loop_")
    mix["guarded"] = sum(kind(code.opcode).startswith(("load_global", "store_global")) for code in guarded)
    return mix


def _counted(instructions: Sequence[Instruction], prefix: str) -> dict[str, int]:
    counts = Counter(kind(instruction.opcode) for instruction in instructions)
    mix = {prefix + name: counts.get(name, 0) for name in (*(name for name, _ in _KINDS), "integer")}
    return mix | {prefix + "total": len(instructions)}


def loop_ends(program: PtxProgram) -> dict[int, int]:
    """Return the index of every loop's last instruction by that of its first: the furthest branch back to it.

    Branches back that overlap without being nested are one loop, which the compiler laid out around its middle.
    """
    ends: dict[int, int] = {}
    for at, code in enumerate(program.instructions):
        target = program.labels.get(code.operands[0]) if code.opcode.startswith("bra") and code.operands else None
        if target is not None and target <= at and code.operands[0].startswith("$"):
            ends[target] = max(at, ends.get(target, 0))
    return _without_overlaps(ends)


def _without_overlaps(ends: dict[int, int]) -> dict[int, int]:
    """Join loops of which the later one begins inside the earlier one and ends behind it."""
    joined: dict[int, int] = {}
    for head, end in sorted(ends.items()):
        around = next((other for other in reversed(joined) if other < head <= joined[other] < end), None)
        joined[head if around is None else around] = end
    return joined
