"""Run the pure instructions of PTX on the registers of an assembly.

An instruction is pure when it depends on its operands alone: no memory, clocks or threads.  `Any` stands for arrays.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from kopt.device.interpret import numbers, operations
from kopt.device.interpret.assembly_registers import FLOATS, U64, Registers, element_of, typed, untyped, width_of
from kopt.device.interpret.device_library import FUNCTIONS, permuted_bytes
from kopt.device.interpret.session import Unsupported


@dataclass(frozen=True)
class Instruction:
    """An instruction with its operands."""

    guard: str
    """Predicate that must hold; empty for none, with `!` before it for one that must not."""
    name: str
    parts: tuple[str, ...]
    """The opcode's parts after the first: roundings and types."""
    operands: tuple[str, ...]
    """The target first."""


def run(instruction: Instruction, registers: Registers) -> None:
    """Run one instruction, in the runs where its guard holds."""
    registers.guard_by(instruction.guard)
    INSTRUCTIONS[instruction.name](registers, instruction)


def _unknown(instruction: Instruction) -> Unsupported:
    opcode = ".".join((instruction.name, *instruction.parts))
    return Unsupported(f"the interpreter does not know the instruction {opcode}")


def _type(instruction: Instruction) -> str:
    """Return the last type among the parts of an opcode."""
    types = [part for part in instruction.parts if re.fullmatch(r"[usb]\d+|b?f16x2|b?f\d+|pred|e\dm\dx?2?", part)]
    if not types:
        raise _unknown(instruction)
    return types[-1]


Run = Callable[[Registers, Instruction], None]
"""Runs an instruction: reads its operands in the registers, and writes its target there."""


def _computed(function: Callable[..., Any]) -> Run:
    """Have an instruction computed by a function of values of its type."""

    def compute(registers: Registers, instruction: Instruction) -> None:
        kind = _type(instruction)
        values = [typed(kind, registers.read(operand)) for operand in instruction.operands[1:]]
        result = function(*values)
        if "sat" in instruction.parts:
            result = np.nan_to_num(np.clip(result, 0, 1))
        if "relu" in instruction.parts:
            result = np.maximum(result, 0)
        registers.write(instruction.operands[0], untyped(kind, result), width_of(kind))

    return compute


def _move(registers: Registers, instruction: Instruction) -> None:
    registers.write(instruction.operands[0], registers.read(instruction.operands[1]), width_of(_type(instruction)))


def _multiply(registers: Registers, instruction: Instruction) -> None:
    kind = _type(instruction)
    values = [typed(kind, registers.read(operand)) for operand in instruction.operands[1:3]]
    addend = instruction.operands[3:]
    if kind[0] in "us" and ("wide" in instruction.parts or "hi" in instruction.parts):
        wide = [value.astype("u8" if kind[0] == "u" else "i8") for value in values]
        product = wide[0] * wide[1]
        width = width_of(kind)
        if "hi" in instruction.parts:
            product = product >> product.dtype.type(width)
        else:
            width *= 2
        target = f"{kind[0]}{width}"
    else:
        product, target = values[0] * values[1], kind
    if addend and kind[0] in "us":
        product = product + typed(target, registers.read(addend[0])).astype(product.dtype)
    elif addend:
        product = operations.fused(values[0], values[1], typed(target, registers.read(addend[0])))
    if "relu" in instruction.parts:
        product = np.maximum(product, 0)
    registers.write(instruction.operands[0], untyped(target, product), width_of(target))


def _divide(a: Any, b: Any) -> Any:
    if np.issubdtype(a.dtype, np.floating):
        return a / b
    return operations.divide(a, b) if a.dtype.kind == "i" else operations.unsigned_divide(a, b).view(a.dtype)


def _remainder(a: Any, b: Any) -> Any:
    return operations.remainder(a, b) if a.dtype.kind == "i" else operations.unsigned_remainder(a, b).view(a.dtype)


def _shift(registers: Registers, instruction: Instruction) -> None:
    kind = _type(instruction)
    value = typed(kind, registers.read(instruction.operands[1]))
    places = registers.read(instruction.operands[2]) & U64(0xFFFFFFFF)
    width = width_of(kind)
    near = np.minimum(places, U64(width - 1)).astype(value.dtype)
    if instruction.name == "shl":
        result = np.where(places >= width, 0, value << near)
    else:
        result = value >> near if kind[0] == "s" else np.where(places >= width, 0, value >> near)
    registers.write(instruction.operands[0], untyped(kind, result), width)


def _funnel(registers: Registers, instruction: Instruction) -> None:
    low, high, places = (registers.read(operand) & U64(0xFFFFFFFF) for operand in instruction.operands[1:])
    places = places & U64(31) if "wrap" in instruction.parts else np.minimum(places, U64(32))
    both = high << U64(32) | low
    result = (both << places) >> U64(32) if "l" in instruction.parts else both >> places
    registers.write(instruction.operands[0], result, 32)


def _lookup(registers: Registers, instruction: Instruction) -> None:
    a, b, c = (registers.read(operand) for operand in instruction.operands[1:4])
    table = int(instruction.operands[4], 0)
    result = np.zeros(registers.runs, U64)
    for row in range(8):
        if table >> row & 1:
            result |= (a if row & 4 else ~a) & (b if row & 2 else ~b) & (c if row & 1 else ~c)
    registers.write(instruction.operands[0], result, 32)


def _permute(registers: Registers, instruction: Instruction) -> None:
    if len(instruction.parts) > 1:
        raise _unknown(instruction)
    a, b, selector = (registers.read(operand).astype(np.uint32).view(np.int32) for operand in instruction.operands[1:])
    registers.write(instruction.operands[0], numbers.unsigned(permuted_bytes(a, b, selector)).astype(U64), 32)


def _extract(registers: Registers, instruction: Instruction) -> None:
    kind = _type(instruction)
    value, start, length = (registers.read(operand) for operand in instruction.operands[1:])
    start, length = start & U64(255), length & U64(255)
    mask = (U64(1) << np.minimum(length, U64(63))) - U64(1)
    field_ = (value >> start) & mask
    if kind[0] == "s":
        sign = np.where(length > 0, (field_ >> (np.maximum(length, U64(1)) - U64(1))) & U64(1), 0)
        field_ = np.where(sign == 1, field_ | ~mask, field_)
    registers.write(instruction.operands[0], field_, width_of(kind))


def _insert(registers: Registers, instruction: Instruction) -> None:
    value, base, start, length = (registers.read(operand) for operand in instruction.operands[1:])
    mask = ((U64(1) << (length & U64(255))) - U64(1)) << (start & U64(255))
    result = (base & ~mask) | ((value << (start & U64(255))) & mask)
    registers.write(instruction.operands[0], result, width_of(_type(instruction)))


_COMPARE: dict[str, Callable[[Any, Any], Any]] = {
    "eq": np.equal, "ne": np.not_equal, "lt": np.less, "le": np.less_equal, "gt": np.greater, "ge": np.greater_equal,
    "lo": np.less, "ls": np.less_equal, "hi": np.greater, "hs": np.greater_equal,
    "neu": np.not_equal, "nan": lambda a, b: (a != a) | (b != b), "num": lambda a, b: (a == a) & (b == b),
    "ltu": lambda a, b: ~(a >= b), "leu": lambda a, b: ~(a > b), "gtu": lambda a, b: ~(a <= b),
    "geu": lambda a, b: ~(a < b), "equ": lambda a, b: ~((a < b) | (a > b)),
}  # fmt: skip


def _set_predicate(registers: Registers, instruction: Instruction) -> None:
    kind = _type(instruction)
    a, b = (typed(kind, registers.read(operand)) for operand in instruction.operands[1:3])
    holds = _COMPARE[instruction.parts[0]](a, b)
    if len(instruction.operands) > 3:
        other = registers.read(instruction.operands[3].removeprefix("!")) != 0
        other = ~other if instruction.operands[3].startswith("!") else other
        holds = {"and": holds & other, "or": holds | other, "xor": holds ^ other}[instruction.parts[1]]
    first, _, second = instruction.operands[0].partition("|")
    registers.write(first, holds.astype(U64))
    if second:
        registers.write(second, (~holds).astype(U64))


def _select(registers: Registers, instruction: Instruction) -> None:
    a, b, predicate = (registers.read(operand) for operand in instruction.operands[1:])
    registers.write(instruction.operands[0], np.where(predicate != 0, a, b), width_of(_type(instruction)))


def _convert(registers: Registers, instruction: Instruction) -> None:
    types = [part for part in instruction.parts if re.fullmatch(r"[usb]\d+|b?f16x2|b?f\d+|e\dm\dx2|tf32", part)]
    if len(types) != 2:
        raise _unknown(instruction)
    target, source = types
    truncate = "rz" in instruction.parts or "rzi" in instruction.parts
    if target.endswith("x2") and not source.endswith("x2"):
        high, low = (typed(source, registers.read(operand)) for operand in instruction.operands[1:3])
        values = np.stack([low, high], axis=-1)
    else:
        values = typed(source, registers.read(instruction.operands[1]))
    if "relu" in instruction.parts:
        values = np.maximum(values, 0)
    single = target.removesuffix("x2")
    if target == "tf32":
        target = "b32"
        result = numbers.to_tf32(values).view(np.uint32)
    elif single in FLOATS:
        values = values.astype(np.float64) if values.dtype.kind in "iu" and single == "f64" else values
        if values.dtype.kind == "f" and source == target:
            values = _in_whole(values, instruction.parts)
        values = np.nan_to_num(np.clip(values, 0, 1)) if "sat" in instruction.parts else values
        result = numbers.rounded(values, FLOATS[single], truncate)
    elif values.dtype.kind == "f":
        result = numbers.saturated(_in_whole(values, instruction.parts), element_of(target), target[0] == "s")
    elif "sat" in instruction.parts:
        limits = np.iinfo(f"{'i' if target[0] == 's' else 'u'}{width_of(target) // 8}")
        result = np.clip(values.astype(np.int64), limits.min, limits.max)
    else:
        result = values.astype(np.int64)
    registers.write(
        instruction.operands[0],
        untyped(target, result),
        max(32, width_of(target)) if target[0] in "us" else width_of(target),
    )


def _in_whole(values: Any, parts: Sequence[str]) -> Any:
    for part, function in (("rni", np.rint), ("rmi", np.floor), ("rpi", np.ceil), ("rzi", np.trunc)):
        if part in parts:
            return function(values)
    return values


def _dot_bytes(registers: Registers, instruction: Instruction) -> None:
    left, right = instruction.parts[0], instruction.parts[1]
    a, b, total = (registers.read(operand) for operand in instruction.operands[1:])
    result = total.astype(np.uint32).view(np.int32).astype(np.int64)
    for at in range(4):
        shift = U64(8 * at)
        result = result + typed(f"{left[0]}8", a >> shift).astype(np.int64) * typed(f"{right[0]}8", b >> shift)
    registers.write(instruction.operands[0], result.view(U64), 32)


INSTRUCTIONS: dict[str, Run] = {
    "mov": _move, "add": _computed(np.add), "sub": _computed(np.subtract), "mul": _multiply,
    "mad": _multiply, "fma": _multiply, "div": _computed(_divide),
    "rem": _computed(_remainder),
    "min": _computed(np.fmin), "max": _computed(np.fmax),
    "abs": _computed(np.abs), "neg": _computed(np.negative),
    "and": _computed(np.bitwise_and), "or": _computed(np.bitwise_or), "xor": _computed(np.bitwise_xor),
    "not": _computed(np.invert), "shl": _shift, "shr": _shift, "shf": _funnel, "lop3": _lookup, "prmt": _permute,
    "bfe": _extract, "bfi": _insert, "popc": _computed(np.bitwise_count),
    "clz": _computed(FUNCTIONS["clz"]), "brev": _computed(FUNCTIONS["brev"]),
    "ex2": _computed(np.exp2), "lg2": _computed(np.log2), "rcp": _computed(lambda x: 1 / x),
    "sqrt": _computed(np.sqrt), "rsqrt": _computed(lambda x: 1 / np.sqrt(x)), "sin": _computed(np.sin),
    "cos": _computed(np.cos), "tanh": _computed(np.tanh), "copysign": _computed(lambda a, b: np.copysign(b, a)),
    "setp": _set_predicate, "selp": _select, "cvt": _convert, "dp4a": _dot_bytes,
}  # fmt: skip
"""How instructions are run, by name."""
