"""Reading PTX: its instructions in order, and how many of each kind there are.

Owns the text of PTX.  What the instructions do to addresses and loops is `kopt.estimate.walk`'s business, how long they
take `kopt.estimate.time`'s.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

_LABEL = re.compile(r"^([$\w]+):(?!:)\s*(.*)$")
_PREDICATE = re.compile(r"^@(!?)(%?[\w]+)\s+(.*)$")
_SCOPES = ("{", "}", "(", ")")


class Instruction(NamedTuple):
    """One PTX instruction."""

    opcode: str
    operands: tuple[str, ...]
    predicate: str = ""
    """Register that guards it, or empty."""
    negated: bool = False


class PtxProgram(NamedTuple):
    """The body of one PTX entry."""

    instructions: tuple[Instruction, ...]
    labels: dict[str, int]
    """Label to the index of the instruction that follows it."""
    parameters: tuple[tuple[str, str], ...]
    """Name and type (`u64`, `u32`, `f32`, `b8`) of every parameter, in order."""


_DECLARED = re.compile(
    r"^\s*\.param\s+(?:\.align\s+\d+\s+)?\.(\w+)\s+(?:\.ptr\s+)?[^,\n)]*?(\w+)(?:\[\d+\])?\s*,?\s*$", re.M
)


def parse(ptx: str) -> PtxProgram:
    """Instructions, labels and parameters of the (single) entry of a PTX text; odd text gives fewer instructions."""
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
        *whole, pending = (pending + " " + line).split(";")
        instructions += [_instruction(text.strip(" {}")) for text in whole if text.strip(" {}")]
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
    """Bytes that one thread moves by a load or store of this opcode (`ld.global.v4.b32` moves 16)."""
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


def kind(opcode: str) -> str:
    """Kind of an instruction; `integer` for whatever is left."""
    return next((name for name, pattern in _KINDS if pattern.match(opcode)), "integer")


def instruction_mix(ptx: str) -> dict[str, int]:
    """Number of instructions of each kind in the text (not how often they run).

    Keys are the kinds of `kind`, each also with `loop_` before it for those inside loops, `guarded` (global accesses
    under a predicate), `total` and `loop_total`; all keys are always present.
    """
    program = parse(ptx)
    instructions = program.instructions
    loops = loop_ends(program)
    inside = [one for at, one in enumerate(instructions) if any(head <= at <= end for head, end in loops.items())]
    mix = _counted(instructions, "") | _counted(inside, "loop_")
    mix["guarded"] = sum(
        bool(one.predicate) and kind(one.opcode).startswith(("load_global", "store_global")) for one in instructions
    )
    return mix


def _counted(instructions: Sequence[Instruction], prefix: str) -> dict[str, int]:
    counts = Counter(kind(one.opcode) for one in instructions)
    mix = {prefix + name: counts.get(name, 0) for name in (*(name for name, _ in _KINDS), "integer")}
    return mix | {prefix + "total": len(instructions)}


def loop_ends(program: PtxProgram) -> dict[int, int]:
    """First instruction of every loop to its last: the furthest branch back to it."""
    ends: dict[int, int] = {}
    for at, one in enumerate(program.instructions):
        target = program.labels.get(one.operands[0]) if one.opcode.startswith("bra") and one.operands else None
        if target is not None and target <= at and one.operands[0].startswith("$"):
            ends[target] = max(at, ends.get(target, 0))
    return ends


def total_mix(mixes: Sequence[dict[str, int]]) -> dict[str, int]:
    """Sum of several mixes."""
    total: Counter[str] = Counter()
    for mix in mixes:
        total.update(mix)
    return dict(total)
