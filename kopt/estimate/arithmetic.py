"""Compute PTX's integer arithmetic for many threads at once: 32-bit results wrap, division truncates."""

from __future__ import annotations

import re
from collections.abc import Callable

import numpy as np
import numpy.typing as npt

Lanes = npt.NDArray[np.int64]
"""Values of one register, one per sampled thread."""
MaybeLanes = Lanes | None
"""The same, or None where they are not known."""

_MASK32 = 0xFFFFFFFF


def _signed32(value: Lanes) -> Lanes:
    return ((value + 0x80000000) & _MASK32) - 0x80000000


def _wide(opcode: str) -> bool:
    return "64" in opcode


def _wrap(opcode: str, value: Lanes) -> Lanes:
    return value if _wide(opcode) or ".wide" in opcode else _signed32(value)


def _unsigned(opcode: str, value: Lanes) -> Lanes:
    return value & _MASK32 if not _wide(opcode) and re.search(r"\.[ub]32", opcode) else value


def _divide(a: Lanes, b: Lanes) -> Lanes:
    safe = np.where(b == 0, 1, b)
    quotient: Lanes = np.sign(a) * np.sign(safe) * (np.abs(a) // np.abs(safe))
    return quotient


_BINARY: dict[str, Callable[[Lanes, Lanes], Lanes]] = {
    "add": lambda a, b: a + b,
    "sub": lambda a, b: a - b,
    "mul": lambda a, b: a * b,
    "and": lambda a, b: a & b,
    "or": lambda a, b: a | b,
    "xor": lambda a, b: a ^ b,
    "shl": lambda a, b: a << (b & 63),
    "shr": lambda a, b: a >> (b & 63),
    "min": np.minimum,
    "max": np.maximum,
    "div": _divide,
    "rem": lambda a, b: a - _divide(a, b) * b,
}
_UNSIGNED_MATTERS = ("shr", "div", "rem", "min", "max", "mul")
COMPARE: dict[str, Callable[[Lanes, Lanes], npt.NDArray[np.bool_]]] = {
    "lt": np.less, "le": np.less_equal, "gt": np.greater, "ge": np.greater_equal, "eq": np.equal, "ne": np.not_equal,
    "lo": np.less, "ls": np.less_equal, "hi": np.greater, "hs": np.greater_equal,
}  # fmt: skip
FLOATING = re.compile(r"\.(bf16|f16|f32|f64|bf16x2|f16x2)(\.|$)")


def arithmetic(opcode: str, head: str, values: list[Lanes]) -> MaybeLanes:
    """Return the result of an integer instruction; None when it is not known.

    Args:
        opcode: the whole opcode, e.g. `add.s32`.
        head: the part of the opcode before the first dot.
        values: the operands.
    """
    if head == "cvt":
        return _convert(opcode, values[0])
    if head == "bfe" and len(values) == 3:
        field_mask: Lanes = (np.ones_like(values[0]) << values[2]) - 1
        bits: Lanes = (values[0] >> values[1]) & field_mask
        return bits
    if head in ("not", "neg", "abs"):
        return _unary(head, opcode, values[0])
    if head == "selp" and len(values) == 3:
        return np.where(values[2] != 0, values[0], values[1])
    if head == "mad" and len(values) == 3:
        return _wrap(opcode, _product(opcode, values[0], values[1]) + values[2])
    if head == "mul" and len(values) == 2:
        return _wrap(opcode, _product(opcode, values[0], values[1]))
    if head in _BINARY and len(values) == 2:
        left, right = values
        if head in _UNSIGNED_MATTERS:
            left, right = _unsigned(opcode, left), _unsigned(opcode, right)
        return _wrap(opcode, _BINARY[head](left, right))
    return None


def _product(opcode: str, left: Lanes, right: Lanes) -> Lanes:
    if ".u32" in opcode:
        left, right = left & _MASK32, right & _MASK32
    product: Lanes = left * right
    high: Lanes = product >> 32
    return high if ".hi" in opcode and not _wide(opcode) else product


def _unary(head: str, opcode: str, value: Lanes) -> Lanes:
    if head == "not":
        return 1 - value if ".pred" in opcode else _wrap(opcode, ~value)
    return -value if head == "neg" else np.abs(value)


def _convert(opcode: str, value: Lanes) -> MaybeLanes:
    kinds = re.findall(r"\.([usb])(\d+)", opcode)
    if len(kinds) < 2:
        return None
    sign, bits = kinds[1]
    mask = (1 << int(bits)) - 1
    unsigned: Lanes = value & mask if sign == "u" and int(bits) < 64 else value
    return unsigned


def unsigned_test(opcode: str, value: Lanes) -> Lanes:
    """Return an operand of a comparison as an unsigned number where the comparison is unsigned."""
    return value & _MASK32 if ".u32" in opcode else value
