"""Find the statements that make the offsets of a tile along one of its dimensions, and write them for another range.

A tile whose dimension `WIDTH` comes from `tl.arange(0, WIDTH)` can be taken in parts: the same statements with another
range in its place give the offsets, pointers and masks of a part.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import libcst as cst

from kopt.rewrite.source import syntax
from kopt.rewrite.source.divisibility import definitions
from kopt.rewrite.source.module import Kernel
from kopt.rewrite.source.shapes import analyse
from kopt.rewrite.source.statements import variables

MADE = frozenset({"tl.arange", "tl.program_id", "tl.multiple_of", "tl.max_contiguous", "tl.where"})
"""Functions that offsets, pointers and masks are made with, beside casts."""


@dataclass(frozen=True, eq=False)
class Extent:
    """The assignments that give expressions a dimension, in source order."""

    width: str
    assignments: tuple[tuple[str, cst.BaseExpression], ...]

    @property
    def names(self) -> frozenset[str]:
        """Names that have the dimension."""
        return frozenset(name for name, _ in self.assignments)

    def texts(self, node: cst.CSTNode, names: Mapping[str, str], ranged: str) -> dict[cst.CSTNode, str]:
        """Map the nodes of an expression that change when names and the range over the dimension get other texts."""
        found: dict[cst.CSTNode, str] = {n: names[n.value] for n in variables(node) if n.value in names}
        return found | {n: ranged for n in syntax.walk(node) if is_range(n, self.width)}


def is_range(node: cst.CSTNode, width: str) -> bool:
    """Return whether a node is `tl.arange(0, WIDTH)`."""
    return isinstance(node, cst.Call) and syntax.match(f"tl.arange(0, {width})", node) is not None


def extent(kernel: Kernel, expressions: Sequence[cst.BaseExpression], width: str) -> Extent | None:
    """Find what gives expressions a dimension; None where it is more than arithmetic on a range and fixed numbers."""
    made, abstract_of = definitions(kernel), analyse(kernel)
    fixed = {p.name for p in kernel.parameters} | {"tl", "None", "True", "False"}
    found: dict[str, cst.BaseExpression] = {}
    waiting = list(expressions)
    while waiting:
        node = waiting.pop()
        for called in (n for n in syntax.walk(node) if isinstance(n, cst.Call)):
            cast = isinstance(called.func, cst.Attribute) and called.func.attr.value == "to"
            if syntax.called(called) not in MADE and not cast:
                return None
        for name in {n.value for n in variables(node)} - fixed - found.keys():
            if name not in made:
                return None
            value = abstract_of.get(made[name])
            if value is None or value.shape is None:
                return None
            if width in value.shape:
                found[name] = made[name]
                waiting.append(made[name])
    order = {id(n): place for place, n in enumerate(kernel.nodes)}
    ordered = sorted(found.items(), key=lambda pair: order[id(pair[1])])
    ranges = [n for node in (*expressions, *found.values()) for n in syntax.walk(node) if is_range(n, width)]
    return Extent(width, tuple(ordered)) if ranges else None
