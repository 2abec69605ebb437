"""Read loads and stores of two-dimensional tiles as boxes of a matrix: where the box begins, and what bounds it.

`base + rows[:, None] * stride + columns[None, :]` under the mask `(rows[:, None] < M) & (columns[None, :] < N)` is the
box from (rows' start, columns' start) of an (M, N) matrix, if `rows` and `columns` are ranges behind a start.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

import libcst as cst

from kopt.rewrite.source import syntax
from kopt.rewrite.source.divisibility import definitions, terms
from kopt.rewrite.source.module import Kernel
from kopt.rewrite.source.shapes import analyse

Made = Mapping[str, cst.BaseExpression]


@dataclass(frozen=True)
class Side:
    """One dimension of a box, in texts of the kernel."""

    start: str
    block: str
    """Length of the box."""
    size: str
    """Parameter that bounds the dimension."""
    stride: str
    """Elements from one index to the next; "1" where the source has no factor."""


@dataclass(frozen=True, eq=False)
class Box:
    """A load or store of a tile of a matrix; what lies outside the matrix is zero, or is not stored."""

    call: cst.Call
    base: str
    """Pointer parameter."""
    sides: tuple[Side, Side]
    """Dimensions in the tile's order."""


def box(kernel: Kernel, call: cst.Call) -> Box | None:
    """Read a load or store as a box; None where a part of it is more than a box."""
    loads = syntax.called(call) == "tl.load"
    pointer = syntax.argument(call, 0, "pointer")
    mask = syntax.argument(call, 1 if loads else 2, "mask")
    other = syntax.argument(call, 2, "other") if loads else None
    if pointer is None or mask is None or syntax.starred(call) or _hinted(call):
        return None
    if other is not None and syntax.code(other.value) not in ("0.0", "0", "0."):
        return None
    made = definitions(kernel)
    base, indices = _pointer(kernel, pointer.value, made)
    sizes = _sizes(kernel, mask.value, made)
    if not base or len(indices) != 2 or sizes is None:
        return None
    sides = []
    for axis in (0, 1):
        stride, index = indices[axis]
        size = [s for positions, s in sizes if positions == index]
        block, start = _start(kernel, index)
        if len(set(size)) != 1 or not block:
            return None
        sides.append(Side(start, block, size[0], stride))
    if len({frozenset(i.items()) for _, i in indices.values()}) != 2 or len(sizes) > 4:
        return None
    known = all(any(positions == index for _, index in indices.values()) for positions, _ in sizes)
    return Box(call, base, (sides[0], sides[1])) if known else None


def _hinted(call: cst.Call) -> bool:
    """Return whether an access has keywords that a box cannot keep."""
    return any(a.keyword is not None and a.keyword.value not in ("mask", "other", "value") for a in call.args)


def _pointer(kernel: Kernel, node: cst.BaseExpression, made: Made) -> tuple[str, dict[int, tuple[str, Counter[str]]]]:
    """Split pointer arithmetic into its parameter and, by axis, stride and index; nothing where that cannot be read."""
    base, found = "", dict[int, tuple[str, Counter[str]]]()
    for addend in _addends(node, made):
        value = analyse(kernel).get(addend)
        if value is None or value.shape is None:
            return "", {}
        if value.shape == ():
            parameter = kernel.parameter(syntax.code(addend))
            if base or parameter is None or parameter.constexpr:
                return "", {}
            base = parameter.name
            continue
        axes = [axis for axis, length in enumerate(value.shape) if length != "1"]
        if len(value.shape) != 2 or len(axes) != 1 or axes[0] in found:
            return "", {}
        found[axes[0]] = _index(kernel, addend, made)
    return base, found


def _addends(node: cst.BaseExpression, made: Made) -> list[cst.BaseExpression]:
    if isinstance(node, cst.BinaryOperation) and isinstance(node.operator, cst.Add):
        return _addends(node.left, made) + _addends(node.right, made)
    if isinstance(node, cst.Name) and node.value in made and isinstance(made[node.value], cst.BinaryOperation):
        return _addends(made[node.value], made)
    return [node]


def _index(kernel: Kernel, node: cst.BaseExpression, made: Made) -> tuple[str, Counter[str]]:
    """Read `index * stride` as stride and index; the stride is "1" where there is no factor."""
    if isinstance(node, cst.BinaryOperation) and isinstance(node.operator, cst.Multiply):
        for index, factor in ((node.left, node.right), (node.right, node.left)):
            if isinstance(factor, (cst.Name, cst.Integer)) and _number(kernel, factor):
                return syntax.code(factor), terms(index, made)
    return "1", terms(node, made)


def _number(kernel: Kernel, node: cst.CSTNode) -> bool:
    """Return whether a node is a literal or a parameter, which a launch can tell."""
    return isinstance(node, cst.Integer) or kernel.parameter(syntax.code(node)) is not None


def _sizes(kernel: Kernel, node: cst.BaseExpression, made: Made) -> list[tuple[Counter[str], str]] | None:
    """Read a mask as comparisons `index < size`; None where it is anything else.

    `(index < size) | EVEN` counts as the comparison: the flag says that the comparison holds everywhere.
    """
    if isinstance(node, cst.Name) and node.value in made:
        return _sizes(kernel, made[node.value], made)
    if isinstance(node, cst.Subscript) and {syntax.code(e.slice) for e in node.slice} <= {":", "None"}:
        return _sizes(kernel, node.value, made)
    if isinstance(node, cst.BinaryOperation) and isinstance(node.operator, cst.BitAnd):
        left, right = (_sizes(kernel, side, made) for side in (node.left, node.right))
        return None if left is None or right is None else left + right
    if isinstance(node, cst.BinaryOperation) and isinstance(node.operator, cst.BitOr):
        flag = kernel.parameter(syntax.code(node.right))
        even = flag is not None and flag.constexpr and flag.name.startswith("EVEN_")
        return _sizes(kernel, node.left, made) if even else None
    if not isinstance(node, cst.Comparison) or [type(c.operator) for c in node.comparisons] != [cst.LessThan]:
        return None
    whole = terms(node.left, made)
    whole.subtract(terms(node.comparisons[0].comparator, made))
    bounds = [t for t, count in whole.items() if count == -1 and kernel.parameter(t) is not None]
    if len(bounds) != 1:
        return None
    return [(Counter({t: count for t, count in whole.items() if count and t != bounds[0]}), bounds[0])]


def _start(kernel: Kernel, index: Counter[str]) -> tuple[str, str]:
    """Return the length of the range in an index, and where it begins; no length where the index is no such range."""
    ranges = [t for t in index if t.startswith("tl.arange(0, ")]
    if len(ranges) != 1 or any(count != 1 for count in index.values()):
        return "", ""
    block = ranges[0].removeprefix("tl.arange(0, ").removesuffix(")")
    names = syntax.names(cst.parse_expression(block))
    parameters = [kernel.parameter(name) for name in names]
    if not all(p is not None and p.constexpr for p in parameters):
        return "", ""
    rest = sorted(t for t in index if t != ranges[0])
    return block, " + ".join(rest) or "0"
