"""Multiply sibling operands side by side: two products with the same left operand become one of twice the width.

The right operands of both lie next to each other in one tile, whose lanes are loaded through pointers that are chosen
lane by lane; after the loop the accumulator is split again.  One wide product keeps the tensor cores busier than two
narrow ones, and the left operand is read from shared memory once.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from random import Random

import libcst as cst

from kopt.rewrite.effects import widest_product
from kopt.rewrite.source import syntax
from kopt.rewrite.source.module import Kernel, TritonModule
from kopt.rewrite.source.shapes import analyse
from kopt.rewrite.source.statements import variables
from kopt.rewrite.source.updates import initial, uses
from kopt.rewrite.transformation import Change, RewriteFacts, Site, Transformation, change


@dataclass(frozen=True, eq=False)
class Product:
    """`acc = tl.dot(left, right, acc)` or `acc += tl.dot(left, right)` in a loop, and where `right` is loaded."""

    left: str
    accumulator: str
    right: str
    line: cst.SimpleStatementLine
    loading: cst.SimpleStatementLine
    load: cst.Call
    start: cst.SimpleStatementLine


@dataclass(frozen=True, eq=False)
class Siblings:
    """Two products with the same left operand, whose right operands are loaded in the same way."""

    loop: cst.For
    first: Product
    second: Product
    rows: str
    """Dimension of the left operand that the products share."""
    width: str
    """The constexpr parameter that holds the width of each right operand."""
    differing: Mapping[str, str]
    """Parameters of the first load with those that stand in their place in the second."""


def _sites(module: TritonModule, facts: RewriteFacts) -> Sequence[Site]:
    sites = []
    for kernel in module.kernels:
        if kernel.odd or module.only_launch(kernel) is None:
            continue
        found = [s for loop in kernel.loops if loop in kernel.body and (s := _siblings(kernel, loop)) is not None]
        if len(found) == 1 and _copies(kernel, found[0]) is not None:
            sites.append(Site(partial(_widen, module, kernel, found[0])))
    return sites


def _siblings(kernel: Kernel, loop: cst.For) -> Siblings | None:
    products = [p for line in loop.body.body if (p := _product(kernel, loop, line)) is not None]
    if len(products) != 2 or len(kernel.called("tl.dot")) != 2:
        return None
    first, second = products
    shapes = [analyse(kernel)[p.load].shape if p.load in analyse(kernel) else None for p in products]
    left = _left_rows(kernel, first)
    width = (shapes[0] or ("",))[-1]
    parameter = kernel.parameter(width)
    if first.left != second.left or shapes[0] != shapes[1] or left is None or parameter is None or left == width:
        return None
    differing = _differing(kernel, first, second)
    alone = all(uses(kernel.node.body, p.right) == 2 for p in products)
    if differing is None or not parameter.constexpr or not alone or (shapes[0] or ()).count(width) != 1:
        return None
    return Siblings(loop, first, second, left, width, differing)


def _product(kernel: Kernel, loop: cst.For, line: cst.CSTNode) -> Product | None:
    if not isinstance(line, cst.SimpleStatementLine) or len(line.body) != 1:
        return None
    small = line.body[0]
    if isinstance(small, cst.AugAssign) and isinstance(small.target, cst.Name):
        found = syntax.match("tl.dot(LEFT_, RIGHT_)", small.value)
        name = small.target.value if isinstance(small.operator, cst.AddAssign) else ""
    else:
        pair = syntax.assigned(small)
        found = syntax.match(f"tl.dot(LEFT_, RIGHT_, {pair[0]})", pair[1]) if pair is not None else None
        name = pair[0] if pair is not None else ""
    if not found or not name or not isinstance(found["RIGHT_"], cst.Name) or not isinstance(found["LEFT_"], cst.Name):
        return None
    right = found["RIGHT_"].value
    made = [(s, p[1]) for s in loop.body.body if (p := syntax.assigned(s)) and p[0] == right]
    start = initial(kernel, name, loop)
    if len(made) != 1 or start is None or uses(loop.body, name) > 2 or not _zeros(start):
        return None
    loading, load = made[0]
    if not isinstance(load, cst.Call) or syntax.called(load) != "tl.load":
        return None
    if not isinstance(loading, cst.SimpleStatementLine):
        return None
    return Product(found["LEFT_"].value, name, right, line, loading, load, start)


def _zeros(start: cst.SimpleStatementLine) -> bool:
    pair = syntax.assigned(start)
    return pair is not None and syntax.called(pair[1]) == "tl.zeros" and "tl.float32" in syntax.code(pair[1])


def _left_rows(kernel: Kernel, product: Product) -> str | None:
    for call in kernel.called("tl.dot"):
        value = analyse(kernel).get(call.args[0].value)
        if value is not None and value.shape is not None and len(value.shape) == 2:
            return value.shape[0]
    return None


def _differing(kernel: Kernel, first: Product, second: Product) -> dict[str, str] | None:
    """Map the parameters in which two loads differ; None where they differ in anything else."""
    left, right = (_words(p.load) for p in (first, second))
    if len(left) != len(right):
        return None
    parameters = {p.name for p in kernel.parameters if not p.constexpr}
    mapping: dict[str, str] = {}
    for a, b in zip(left, right, strict=True):
        if a != b and not {a, b} <= parameters:
            return None
        if mapping.setdefault(a, b) != b:
            return None
    mapping = {a: b for a, b in mapping.items() if a != b}
    mixed = {id(n) for n in syntax.walk(first.load) if isinstance(n, cst.Subscript)
             for n in syntax.walk(n)}  # fmt: skip
    inside = any(isinstance(n, cst.Name) and n.value in mapping and id(n) in mixed for n in syntax.walk(first.load))
    return mapping if mapping and not inside else None


def _words(node: cst.CSTNode) -> list[str]:
    return re.findall(r"\w+|\S", syntax.code(node))


def _copies(kernel: Kernel, siblings: Siblings) -> list[cst.SimpleStatementLine] | None:
    """Find the statements that make what the loads need along the width, in source order; None if one is not plain."""
    wanted, found = set(syntax.names(siblings.first.load)), list[cst.SimpleStatementLine]()
    body = [*kernel.body, *siblings.loop.body.body]
    lines = {p[0]: s for s in body if (p := syntax.assigned(s)) and isinstance(s, cst.SimpleStatementLine)}
    waiting = sorted(wanted)
    while waiting:
        name = waiting.pop()
        line = lines.get(name)
        pair = syntax.assigned(line) if line is not None else None
        if line is None or pair is None or line in found:
            continue
        value = analyse(kernel).get(pair[1])
        if value is None or value.shape is None:
            return None
        if siblings.width in value.shape:
            once = sum(1 for s in body if (p := syntax.assigned(s)) and p[0] == name) == 1
            if not once or _stored_elsewhere(kernel, name):
                return None
            found.append(line)
            waiting += sorted(syntax.names(pair[1]))
    ranges = [n for line in (*found, siblings.first.loading) for n in syntax.walk(line) if _arange(n, siblings.width)]
    ordered = [s for s in body if isinstance(s, cst.SimpleStatementLine) and s in found]
    return ordered if ranges else None


def _arange(node: cst.CSTNode, width: str) -> bool:
    return isinstance(node, cst.Call) and syntax.match(f"tl.arange(0, {width})", node) is not None


def _stored_elsewhere(kernel: Kernel, name: str) -> bool:
    return any(
        isinstance(n, (cst.AugAssign, cst.For)) and name in syntax.names(n.target) for n in kernel.nodes
    ) or any(isinstance(n, cst.Assign) and syntax.assigned(n) is None and any(
        name in syntax.names(t.target) for t in n.targets) for n in kernel.nodes)  # fmt: skip


def _widen(module: TritonModule, kernel: Kernel, siblings: Siblings, rng: Random) -> Change | None:
    copies = _copies(kernel, siblings)
    names = _Names(kernel, siblings, copies or ())
    first, second, width = siblings.first, siblings.second, siblings.width
    edits = module.edits()
    for line in copies or ():
        edits.statements_after(line, edits.moved([line], names.texts(line)))
    lanes = [f"{names.lanes} = tl.arange(0, 2 * {width})"]
    lanes += [
        f"{names.selected[a]} = tl.where({names.lanes} < {width}, {a}, {b})[None, :]"
        for a, b in siblings.differing.items()
    ]
    edits.statements_before(kernel.body[0], "\n".join(lanes))
    both, acc = names.both, names.accumulator
    edits.replace_statement(first.start, f"{acc} = tl.zeros(({siblings.rows}, 2 * {width}), dtype=tl.float32)")
    for replaced in (second.start, first.loading, first.line):
        edits.remove_statement(replaced)
    texts = names.texts(first.loading)
    wide = edits.moved([first.loading], texts).replace(f"{first.right} = ", f"{both} = ", 1)
    edits.replace_statement(second.loading, wide)
    edits.replace_statement(second.line, f"{acc} = tl.dot({first.left}, {both}, {acc})")
    edits.statements_after(
        siblings.loop,
        f"{first.accumulator}, {second.accumulator} = tl.split("
        f"tl.permute(tl.reshape({acc}, ({siblings.rows}, 2, {width})), (0, 2, 1)))",
    )
    return change(
        edits,
        f"{first.right} and {second.right} side by side in one product of twice the width in {kernel.name}: one wide "
        "matrix instruction in place of two",
    )


class _Names:
    """Names that the wide product needs, and texts of nodes that they replace."""

    def __init__(self, kernel: Kernel, siblings: Siblings, copies: Iterable[cst.SimpleStatementLine]) -> None:
        self.lanes = kernel.fresh("lanes")
        self.both = kernel.fresh(f"{siblings.first.right}_{siblings.second.right}")
        self.accumulator = kernel.fresh(f"acc_{self.both}")
        self.selected = {a: kernel.fresh(f"{a}_of_lane") for a in siblings.differing}
        copied = [p[0] for line in copies if (p := syntax.assigned(line))]
        self._texts = {name: kernel.fresh(f"{name}_wide") for name in copied} | self.selected
        self._width = siblings.width

    def texts(self, line: cst.CSTNode) -> dict[cst.CSTNode, str]:
        """Return texts for the nodes of a statement that change in its wide copy."""
        found: dict[cst.CSTNode, str] = {n: self._texts[n.value] for n in variables(line) if n.value in self._texts}
        ranges = [n for n in syntax.walk(line) if _arange(n, self._width)]
        found |= dict.fromkeys(ranges, f"({self.lanes} % {self._width})")
        return found


TRANSFORMATIONS = (
    Transformation(
        "wide_product", "two products with the same left operand become one whose right operands lie side by side",
        ("tensor_cores", "shared_memory_tiling"),
        ("tensor_cores_idle", "redundant_traffic", "small_tiles", "instruction_overhead"),
        _sites, 8.0, marks=("_of_lane",), effect=widest_product,
    ),
)  # fmt: skip
