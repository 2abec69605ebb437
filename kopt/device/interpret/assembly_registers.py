"""Hold the registers of inline assembly: pack values into registers, and view the bits of registers as typed values.

A register is an array of unsigned 64-bit numbers, one for each run of the assembly.  Values of blocks have MLIR's
element types (`bf16`, `i32`), and the operands of an instruction PTX's types (`f16x2`, `u32`, `pred`).  `Any` stands
for arrays.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from kopt.device.interpret import numbers, operations
from kopt.device.interpret.session import Unsupported

U64 = np.uint64
FLOATS = {"f16": "f16", "bf16": "bf16", "f32": "f32", "f64": "f64", "e4m3": "f8E4M3FN", "e5m2": "f8E5M2"}
"""Element types by PTX's name of a floating-point type."""


@dataclass
class Registers:
    """The registers of an assembly, in all of its runs at once."""

    bits: dict[str, Any]
    """By name of a register; one that nothing was written to is missing, and holds 0."""
    runs: int
    """Number of times that the assembly runs."""
    guard: Any = None
    """In which runs an instruction writes; None for all of them."""

    def guard_by(self, predicate: str) -> None:
        """Have writes change registers where a predicate holds, or with `!` where it does not; everywhere if empty."""
        self.guard = self.read(predicate.removeprefix("!")) != 0 if predicate else None
        if self.guard is not None and predicate.startswith("!"):
            self.guard = ~self.guard

    def read(self, operand: str) -> Any:
        """Return the bits of an operand: a register, a number, or registers joined in braces."""
        if operand.startswith("{"):
            parts = _in_braces(operand)
            width = 64 // len(parts) if any(self._wide(part) for part in parts) else 32 // len(parts)
            joined = np.zeros(self.runs, U64)
            for at, part in enumerate(parts):
                joined |= (self.read(part) & U64((1 << width) - 1)) << U64(at * width)
            return joined
        if operand in self.bits:
            return self.bits[operand]
        if re.fullmatch(r"-?(0[xX][0-9a-fA-F]+|\d+)U?", operand):
            return np.full(self.runs, int(operand.rstrip("U"), 0) & 0xFFFFFFFFFFFFFFFF, U64)
        if re.fullmatch(r"0[fF][0-9a-fA-F]{8}|0[dD][0-9a-fA-F]{16}", operand):
            return np.full(self.runs, int(operand[2:], 16), U64)
        if re.fullmatch(r"-?\d+\.\d*(e-?\d+)?", operand):
            return _raw(np.full(self.runs, float(operand), np.float32), "f32")
        if operand.startswith("%") or operand.startswith("["):
            raise Unsupported(f"the interpreter cannot read {operand} in inline assembly")
        return np.zeros(self.runs, U64)

    def _wide(self, register: str) -> bool:
        return register in self.bits and bool((self.bits[register] >> U64(16) != 0).any())

    def write(self, operand: str, bits: Any, width: int = 64) -> None:
        """Set an operand's bits, where the guard holds."""
        bits = np.broadcast_to(bits, (self.runs,)) & U64(0xFFFFFFFFFFFFFFFF if width >= 64 else (1 << width) - 1)
        if operand.startswith("{"):
            parts = _in_braces(operand)
            share = width // len(parts)
            for at, part in enumerate(parts):
                self.write(part, bits >> U64(at * share), share)
            return
        if self.guard is not None:
            bits = np.where(self.guard, bits, self.read(operand))
        self.bits[operand] = bits


def _in_braces(operand: str) -> list[str]:
    return [part.strip() for part in operand.strip("{}").split(",")]


# --- values of blocks -------------------------------------------------------------------------------------------------


def _bits(element: str) -> int:
    return 64 if element == "ptr" else 8 * numbers.stored(element).itemsize


def _per_register(element: str, pack: int) -> int:
    bits = _bits(element)
    return max(1, min(pack, 32 // bits)) if bits < 32 else 1


def register_count(element: str, pack: int) -> int:
    """Return the number of registers that hold `pack` elements."""
    return -(-pack // _per_register(element, pack))


def packed(value: Any, element: str, shape: tuple[int, ...], runs: int, pack: int) -> list[Any]:
    """Return the registers of an operand: neighbouring narrow elements share one."""
    values = operations.whole(value, shape).reshape(-1)
    raw = numbers.unsigned(numbers.encode(values, element)).astype(U64)
    padded = np.resize(raw, runs * pack).reshape(runs, pack)
    share, bits = _per_register(element, pack), _bits(element)
    registers = []
    for start in range(0, pack, share):
        register = np.zeros(runs, U64)
        for at in range(min(share, pack - start)):
            register |= padded[:, start + at] << U64(at * bits)
        registers.append(register)
    return registers


def unpacked(registers: Sequence[Any], element: str, shape: tuple[int, ...], size: int, pack: int) -> Any:
    """Return the block of this shape and size, or the scalar, whose elements lie in registers."""
    share, bits = _per_register(element, pack), _bits(element)
    columns = []
    for at in range(pack):
        register = np.broadcast_to(registers[at // share], (registers[0].size,))
        columns.append(register >> U64(at % share * bits))
    raw = np.stack(columns, axis=1).reshape(-1)[:size]
    values = _value(raw, element)
    return values.reshape(shape) if shape else values[0]


def _value(raw: Any, element: str) -> Any:
    """Return the values of an element type whose bits are the low bits of registers."""
    if element == "i1":
        return (raw & U64(1)).astype(np.bool_)
    kind = numbers.stored(element)
    return numbers.decode(raw.astype(f"u{kind.itemsize}").view(kind), element)


def _raw(values: Any, element: str) -> Any:
    """Return registers whose low bits are the bits of values."""
    return numbers.unsigned(numbers.encode(np.asarray(values), element)).astype(U64)


# --- values of PTX's types --------------------------------------------------------------------------------------------


def element_of(kind: str) -> str:
    """Return the element type that stands for a type of PTX; signed and unsigned integers have the same one."""
    return FLOATS.get(kind, "i1" if kind == "pred" else f"i{kind[1:]}")


def width_of(kind: str) -> int:
    """Return the bits of a type of PTX."""
    if kind.endswith("x2"):
        return 2 * width_of(kind[:-2])
    return 1 if kind == "pred" else 8 if kind in ("e4m3", "e5m2") else int(re.sub(r"\D", "", kind))


def typed(kind: str, bits: Any) -> Any:
    """Return bits as values: floats, signed or unsigned integers, or pairs of halves in a last dimension."""
    if kind.endswith("x2"):
        half = width_of(kind[:-2])
        return np.stack([typed(kind[:-2], bits), typed(kind[:-2], bits >> U64(half))], axis=-1)
    values = _value(bits, element_of(kind))
    return numbers.unsigned(values) if kind[0] in "ub" and kind not in FLOATS and kind != "pred" else values


def untyped(kind: str, values: Any) -> Any:
    """Return the bits of values, rounded to the type: what `typed` reads."""
    if kind.endswith("x2"):
        half = width_of(kind[:-2])
        low, high = untyped(kind[:-2], values[..., 0]), untyped(kind[:-2], values[..., 1])
        return (low & U64((1 << half) - 1)) | (high << U64(half))
    element = element_of(kind)
    if kind in FLOATS:
        return _raw(numbers.rounded(values, element), element)
    if kind == "pred":
        return np.asarray(values).astype(U64)
    return np.asarray(values).astype(f"u{max(1, width_of(kind) // 8)}").astype(U64)
