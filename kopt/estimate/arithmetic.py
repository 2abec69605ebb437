"""Compute PTX's integer arithmetic for many threads at once.

A register holds the bits that PTX gives it, as a signed number of the register's width.  An instruction reads them as
its type says: `shr.u16` looks at the low 16 bits without a sign.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

Lanes = npt.NDArray[np.int64]
"""Values of one register, one per sampled thread."""
MaybeLanes = Lanes | None
"""The same, or None where they are not known."""

FLOATING = re.compile(r"\.(bf16|f16|f32|f64|bf16x2|f16x2)(\.|$)")

_TYPE = re.compile(r"\.([usb])(8|16|32|64)(x2)?(?![\w])")
_SIGNED = {8: np.int8, 16: np.int16, 32: np.int32}
_UNSIGNED = {8: np.uint8, 16: np.uint16, 32: np.uint32}
_LOW = np.uint64(0xFFFFFFFF)
_HALF = np.uint64(32)


class _Type(NamedTuple):
    """Type of an integer operand."""

    signed: bool
    bits: int
    pair: bool = False
    """Whether a register holds two such numbers (`s16x2`)."""

    def read(self, value: Lanes) -> Lanes:
        """Return the number that a register's low bits are; one of 64 bits stays signed."""
        if self.bits == 64:
            return value
        return value.astype((_SIGNED if self.signed else _UNSIGNED)[self.bits]).astype(np.int64)

    @property
    def stored(self) -> _Type:
        """The type as which a register of this width is kept."""
        return _Type(True, self.bits)


def _types(opcode: str) -> list[_Type]:
    return [_Type(letter == "s", int(bits), bool(pair)) for letter, bits, pair in _TYPE.findall(opcode)]


def arithmetic(opcode: str, head: str, values: list[Lanes]) -> MaybeLanes:
    """Return the result of an integer instruction; None when it is not known.

    Args:
        opcode: the whole opcode, e.g. `add.s32`.
        head: the part of the opcode before the first dot.
        values: the operands.
    """
    if opcode.endswith(".pred"):
        return _of_predicates(head, values)
    types = _types(opcode)
    if not types or ".sat" in opcode or ".cc" in opcode or (head == "prmt" and opcode != "prmt.b32"):
        return None
    if head == "cvt":
        return types[0].stored.read(types[-1].read(values[0])) if len(types) == 2 else None
    kind = types[-1]
    if kind.pair:
        return _of_pairs(head, kind, values)
    if head in ("mul", "mad") and len(values) == (2 if head == "mul" else 3):
        return _multiplied(opcode, kind, values)
    if head == "selp" and len(values) == 3:
        return kind.stored.read(np.where(values[2] != 0, values[0], values[1]))
    operation = _OPERATIONS.get(head)
    if operation is None or operation.operands != len(values):
        return None
    result = operation.compute(kind, *(kind.read(value) for value in values) if operation.typed else values)
    return kind.stored.read(result)


def moved(opcode: str, value: Lanes) -> Lanes:
    """Return what a register holds after `mov` or `ld.param`; of a value of 8 bits the other bits are zeros."""
    types = _types(opcode)
    if not types:
        return value
    return types[-1].read(value) if types[-1].bits == 8 else types[-1].stored.read(value)


def unpacked(opcode: str, value: Lanes, count: int) -> list[Lanes]:
    """Return the parts of a register, lowest first: what `mov.b32 {%rs1, %rs2}, %r1` gives.

    Args:
        opcode: the instruction's opcode.
        value: the register.
        count: number of parts.
    """
    bits = _types(opcode)[-1].bits // count
    return [_Type(True, bits).read(value >> (bits * at)) for at in range(count)]


def packed(opcode: str, parts: list[Lanes]) -> Lanes:
    """Return the register that is made of parts, lowest first: what `mov.b32 %r1, {%rs1, %rs2}` gives."""
    kind = _types(opcode)[-1]
    bits = kind.bits // len(parts)
    joined = np.zeros_like(parts[0])
    for at, part in enumerate(parts):
        joined = joined | ((part & ((1 << bits) - 1)) << (bits * at))
    return kind.stored.read(joined)


def comparison(opcode: str, left: Lanes, right: Lanes) -> tuple[npt.NDArray[np.bool_], Lanes, Lanes] | None:
    """Return where a comparison (`setp`) holds, and its sides as numbers of its type; None when it is not known."""
    types, compare = _types(opcode), _COMPARE.get(opcode.split(".")[1])
    if not types or compare is None or FLOATING.search(opcode):
        return None
    kind, name = types[-1], opcode.split(".")[1]
    if name in ("eq", "ne"):
        kind = kind.stored
    elif name in ("lo", "ls", "hi", "hs"):
        kind = _Type(False, kind.bits)
    left, right = kind.read(left), kind.read(right)
    if kind.bits == 64 and not kind.signed and ((left < 0).any() or (right < 0).any()):
        top = np.int64(-(1 << 63))
        left, right = left ^ top, right ^ top
    return compare(left, right), left, right


_COMPARE: dict[str, Callable[[Lanes, Lanes], npt.NDArray[np.bool_]]] = {
    "lt": np.less, "le": np.less_equal, "gt": np.greater, "ge": np.greater_equal, "eq": np.equal, "ne": np.not_equal,
    "lo": np.less, "ls": np.less_equal, "hi": np.greater, "hs": np.greater_equal,
}  # fmt: skip


class _Operation(NamedTuple):
    """How an instruction computes."""

    operands: int
    compute: Callable[..., Lanes]
    """Gets the type and the operands."""
    typed: bool = True
    """Whether the operands are to be read as the type says; where only their low bits matter they need not be."""


def _divided(kind: _Type, a: Lanes, b: Lanes) -> Lanes:
    safe = np.where(b == 0, 1, b)
    if kind.bits == 64 and not kind.signed:
        return (a.view(np.uint64) // safe.view(np.uint64)).view(np.int64)
    quotient: Lanes = np.sign(a) * np.sign(safe) * (np.abs(a) // np.abs(safe))
    return quotient


def _remainder(kind: _Type, a: Lanes, b: Lanes) -> Lanes:
    return a - _divided(kind, a, b) * np.where(b == 0, 1, b)


def _least(kind: _Type, a: Lanes, b: Lanes) -> Lanes:
    if kind.bits == 64 and not kind.signed:
        return np.minimum(a.view(np.uint64), b.view(np.uint64)).view(np.int64)
    return np.minimum(a, b)


def _greatest(kind: _Type, a: Lanes, b: Lanes) -> Lanes:
    if kind.bits == 64 and not kind.signed:
        return np.maximum(a.view(np.uint64), b.view(np.uint64)).view(np.int64)
    return np.maximum(a, b)


def _shifted_left(kind: _Type, value: Lanes, by: Lanes) -> Lanes:
    by = by & 0xFFFFFFFF
    return np.where(by < kind.bits, value << np.minimum(by, 63), 0)


def _shifted_right(kind: _Type, value: Lanes, by: Lanes) -> Lanes:
    by = by & 0xFFFFFFFF
    value = kind.read(value)
    if kind.signed:
        return value >> np.minimum(by, kind.bits - 1)
    if kind.bits == 64:
        shifted = (value.view(np.uint64) >> np.minimum(by, 63).view(np.uint64)).view(np.int64)
        return np.where(by < 64, shifted, 0)
    return value >> np.minimum(by, 63)


def _field(kind: _Type, value: Lanes, start: Lanes, length: Lanes) -> Lanes:
    """Extract bits (`bfe`)."""
    start, length = start & 0xFF, length & 0xFF
    bits = _shifted_right(kind, value, start)
    if kind.signed:
        kept = np.maximum(np.minimum(length, kind.bits - start), 1)
        unused = 64 - kept
        return np.where((length == 0), 0, np.where(start < kind.bits, (bits << unused) >> unused, bits))
    return np.where(length < kind.bits, bits & ((np.int64(1) << np.minimum(length, 63)) - 1), bits)


def _inserted(kind: _Type, part: Lanes, into: Lanes, start: Lanes, length: Lanes) -> Lanes:
    """Insert bits (`bfi`)."""
    start, length = start & 0xFF, np.minimum(length & 0xFF, kind.bits)
    ones = np.where(length < 64, (np.int64(1) << np.minimum(length, 63)) - 1, -1)
    mask = _shifted_left(kind, ones, start)
    return (into & ~mask) | (_shifted_left(kind, part, start) & mask)


def _permuted(_: _Type, a: Lanes, b: Lanes, select: Lanes) -> Lanes:
    """Choose bytes of two registers, or their signs (`prmt`)."""
    eight = (a & 0xFFFFFFFF) | (b << 32)
    result = np.zeros_like(a)
    for at in range(4):
        chosen = select >> (4 * at)
        byte = (eight >> (8 * (chosen & 7))) & 0xFF
        result = result | (np.where(chosen & 8, np.where(byte & 0x80, 0xFF, 0), byte) << (8 * at))
    return result


_OPERATIONS = {
    "add": _Operation(2, lambda _, a, b: a + b, typed=False),
    "sub": _Operation(2, lambda _, a, b: a - b, typed=False),
    "and": _Operation(2, lambda _, a, b: a & b, typed=False),
    "or": _Operation(2, lambda _, a, b: a | b, typed=False),
    "xor": _Operation(2, lambda _, a, b: a ^ b, typed=False),
    "not": _Operation(1, lambda _, a: ~a, typed=False),
    "neg": _Operation(1, lambda _, a: -a, typed=False),
    "abs": _Operation(1, lambda _, a: np.abs(a)),
    "shl": _Operation(2, _shifted_left, typed=False),
    "shr": _Operation(2, _shifted_right, typed=False),
    "bfe": _Operation(3, _field, typed=False),
    "bfi": _Operation(4, _inserted, typed=False),
    "prmt": _Operation(3, _permuted, typed=False),
    "min": _Operation(2, _least),
    "max": _Operation(2, _greatest),
    "div": _Operation(2, _divided),
    "rem": _Operation(2, _remainder),
}
COMPUTED = (*_OPERATIONS, "mul", "mad", "selp", "cvt")
"""Instructions that `arithmetic` knows."""


def _of_predicates(head: str, values: list[Lanes]) -> MaybeLanes:
    """Return the result of an instruction on predicates, which are 0 or 1."""
    operation = _OPERATIONS.get(head)
    if head not in ("and", "or", "xor", "not") or operation is None or operation.operands != len(values):
        return None
    return operation.compute(None, *values) & 1


def _of_pairs(head: str, kind: _Type, values: list[Lanes]) -> MaybeLanes:
    """Return the result of an instruction on two numbers in each register."""
    operation, one = _OPERATIONS.get(head), _Type(kind.signed, kind.bits)
    if head not in ("add", "sub", "min", "max") or operation is None or len(values) != 2:
        return None
    halves = [[one.read(value >> shift) for value in values] for shift in (0, kind.bits)]
    return packed(".b32", [operation.compute(one, *pair) for pair in halves])


def _multiplied(opcode: str, kind: _Type, values: list[Lanes]) -> Lanes:
    """Return a product, or its high half, or the whole of it, with the third operand added."""
    if ".wide" in opcode:
        result = kind.read(values[0]) * kind.read(values[1])
        kind = _Type(kind.signed, 2 * kind.bits)
    elif ".hi" not in opcode:
        result = values[0] * values[1]
    elif kind.bits == 64:
        result = _high_half(values[0], values[1], kind.signed)
    else:
        result = (kind.read(values[0]) * kind.read(values[1])) >> kind.bits
    if len(values) == 3:
        result = result + values[2]
    return kind.stored.read(result)


def _high_half(a: Lanes, b: Lanes, signed: bool) -> Lanes:
    """Return the high 64 bits of products of 64-bit numbers."""
    left, right = a.view(np.uint64), b.view(np.uint64)
    low = (left & _LOW) * (right & _LOW)
    middle = (left >> _HALF) * (right & _LOW) + (low >> _HALF)
    other = (left & _LOW) * (right >> _HALF) + (middle & _LOW)
    high = (left >> _HALF) * (right >> _HALF) + (middle >> _HALF) + (other >> _HALF)
    result: Lanes = high.view(np.int64)
    return result - np.where(a < 0, b, 0) - np.where(b < 0, a, 0) if signed else result
