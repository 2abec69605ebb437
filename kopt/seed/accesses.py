"""Find along which axis of its blocks a kernel of TorchInductor's reads and writes adjacent elements.

Indexes are evaluated as plain numbers at a few places: one step along an axis changes an index by so many elements.
"""

from __future__ import annotations

import ast
import operator
import random
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

PLACES = 9
"""Places at which an index is evaluated; the step that most of them have counts."""
LARGE = (2_000, 9_000)
"""Range of the sizes that are drawn for names of sizes."""
BYTES = {"fp64": 8, "i64": 8, "u64": 8, "fp16": 2, "bf16": 2, "i16": 2, "u16": 2, "i1": 1, "i8": 1, "u8": 1}
"""Bytes of an element by Triton's name of its dtype; of others 1 where the name begins with `fp8`, else 4."""

_OPERATORS: Mapping[type, Callable[[int, int], int]] = {
    ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul, ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod, ast.Lt: operator.lt, ast.LtE: operator.le, ast.Gt: operator.gt, ast.GtE: operator.ge,
    ast.Eq: operator.eq, ast.NotEq: operator.ne, ast.BitAnd: operator.and_, ast.BitOr: operator.or_,
}  # fmt: skip
_FUNCTIONS: Mapping[str, Callable[..., int]] = {
    "minimum": min, "maximum": max, "div_floor_integer": operator.floordiv, "remainder_integer": operator.mod,
    "where": lambda condition, one, other: one if condition else other,
}  # fmt: skip


@dataclass(frozen=True)
class Access:
    """A load or store of a block."""

    pointer: str
    """Name of the kernel's parameter."""
    element_bytes: int
    is_load: bool
    steps: Mapping[str, int]
    """Elements by which the index changes with one step along an axis, by the axis."""


def accesses(source: str, signature: Mapping[str, str], axes: Sequence[str]) -> list[Access]:
    """List the loads and stores of a kernel whose indexes depend on nothing that was loaded.

    Args:
        source: the kernel's text, as TorchInductor wrote it.
        signature: dtypes of its parameters, as Triton names them.
        axes: names of the axes of its blocks: `x`, `y`, `z`, `r0_`, `r1_`.
    """
    tree = ast.parse(source)
    values: dict[str, ast.expr] = {}
    for node in ast.walk(tree):
        match node:
            case ast.Assign(targets=[ast.Name(name)], value=value):
                values.setdefault(name, value)
    found = []
    for node in ast.walk(tree):
        match node:
            case ast.Call(
                func=ast.Attribute(value=ast.Name("tl"), attr="load" | "store" as what),
                args=[ast.BinOp(left=ast.Name(pointer), op=ast.Add(), right=index), *_],
            ) if pointer in signature:
                steps = _steps(index, values, axes)
                if steps is not None:
                    dtype = signature[pointer].lstrip("*")
                    found.append(Access(pointer, _bytes(dtype), what == "load", steps))
    return found


def _bytes(dtype: str) -> int:
    return 1 if dtype.startswith("fp8") else BYTES.get(dtype, 4)


def _steps(index: ast.expr, values: Mapping[str, ast.expr], axes: Sequence[str]) -> dict[str, int] | None:
    """Return the steps of an index by axis; None for one that cannot be evaluated."""
    draw = random.Random(0)
    seen: dict[str, Counter[int]] = {axis: Counter() for axis in axes}
    for _ in range(PLACES):
        place = {f"{axis}index": draw.randrange(10**6) for axis in axes}
        sizes = random.Random(draw.random())
        known = _Sizes(sizes)
        try:
            here = _value(index, values, place, known, {})
            for axis in axes:
                moved = {**place, f"{axis}index": place[f"{axis}index"] + 1}
                seen[axis][_value(index, values, moved, known, {}) - here] += 1
        except (_UnknownError, ZeroDivisionError, RecursionError):
            return None
    return {axis: counts.most_common(1)[0][0] for axis, counts in seen.items()}


class _UnknownError(Exception):
    """An expression is no arithmetic of places and sizes."""


class _Sizes:
    """Draw a size for each name, the same one whenever it is asked for."""

    def __init__(self, draw: random.Random) -> None:
        self._draw = draw
        self._known: dict[str, int] = {}

    def __getitem__(self, name: str) -> int:
        return self._known.setdefault(name, self._draw.randrange(*LARGE))


def _value(
    node: ast.expr, values: Mapping[str, ast.expr], place: Mapping[str, int], sizes: _Sizes, known: dict[str, int]
) -> int:  # fmt: skip
    """Evaluate an expression at a place; `known` gets the values of the names on the way."""

    def value(inner: ast.expr) -> int:
        return _value(inner, values, place, sizes, known)

    match node:
        case ast.Name(name) if name in place:
            return place[name]
        case ast.Name(name) if name in values:
            if name not in known:
                known[name] = value(values[name])
            return known[name]
        case ast.Name(name):
            return sizes[name]
        case ast.Constant(int() as number):
            return number
        case ast.BinOp(left=left, op=op, right=right) | ast.Compare(left=left, ops=[op], comparators=[right]) if (
            type(op) in _OPERATORS
        ):
            return int(_OPERATORS[type(op)](value(left), value(right)))
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            return -value(operand)
        case ast.Call(func=ast.Attribute(value=inner, attr="to")):
            return value(inner)
        case ast.Call(func=ast.Attribute(attr="broadcast_to"), args=[inner, _]):
            return value(inner)
        case ast.Call(func=ast.Attribute(attr="full"), args=[_, inner, *_]):
            return value(inner)
        case ast.Call(func=ast.Attribute(attr=name), args=arguments) if name in _FUNCTIONS:
            return int(_FUNCTIONS[name](*map(value, arguments)))
    raise _UnknownError
