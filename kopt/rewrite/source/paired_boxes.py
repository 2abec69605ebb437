"""Read a load of two operands side by side, each from a matrix of its own, as a box of a pair of matrices.

`tl.load(where(lanes < W, a, b) + (start + lanes % W)[None, :] * where(lanes < W, stride_a, stride_b) + ks[:, None])`
takes the same box from `a` and from `b`, W columns of each (`kopt.rewrite.transformations.products.wide_product`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import libcst as cst

from kopt.rewrite.source import syntax
from kopt.rewrite.source.boxes import Box, Side, box
from kopt.rewrite.source.divisibility import definitions
from kopt.rewrite.source.module import Kernel, TritonModule, parse
from kopt.rewrite.source.statements import variables
from kopt.rewrite.source.updates import uses

HEAD = "import triton\nimport triton.language as tl\n\n\n"


@dataclass(frozen=True, eq=False)
class PairedBox:
    """A load of the same box of two matrices, side by side along the tile's second dimension."""

    call: cst.Call
    bases: tuple[str, str]
    """Pointer parameters of the first and of the second matrix."""
    sides: tuple[Side, Side]
    """Dimensions of the first matrix' box, in the tile's order; the second one is doubled by the pair."""
    others: Mapping[str, str]
    """Parameters of the first matrix with those that stand in their place for the second."""
    halves: tuple[str, str]
    """Variables that get the parts of the product that belong to the first and to the second matrix."""
    split: cst.SimpleStatementLine
    """Statement that takes the product apart."""


@dataclass(frozen=True)
class _Choice:
    """A value that is chosen lane by lane: of the first lanes one parameter, of the others another."""

    first: str
    second: str
    width: str


def paired_box(module: TritonModule, kernel: Kernel, call: cst.Call) -> PairedBox | None:
    """Read a load as a box of a pair of matrices; None where a part of it is anything else."""
    pointer = syntax.argument(call, 0, "pointer")
    choices = _choices(kernel)
    chosen = {name: choices[name] for name in syntax.names(call) if name in choices}
    if syntax.called(call) != "tl.load" or pointer is None or not chosen:
        return None
    if len({choice.width for choice in chosen.values()}) != 1:
        return None
    made = [pair[0] for node in kernel.nodes if (pair := _assigned(node)) is not None and pair[1] is call]
    if len(made) != 1:
        return None
    found, taken = _first_box(module, kernel, call, made[0], chosen), _taken_apart(kernel, made[0])
    (width,) = {choice.width for choice in chosen.values()}
    if found is None or taken is None or not _same_text(found.sides[1].block, width):
        return None
    others = {choice.first: choice.second for choice in chosen.values()}
    if found.base not in others or any(side.size in others for side in found.sides):
        return None
    split, halves = taken
    return PairedBox(call, (found.base, others[found.base]), found.sides, others, halves, split)


def _choices(kernel: Kernel) -> dict[str, _Choice]:
    """Find the names that choose between two parameters lane by lane."""
    values, found = definitions(kernel), dict[str, _Choice]()
    for name, value in values.items():
        parts = syntax.match("tl.where(LANES_ < W_, FIRST_, SECOND_)[None, :]", value)
        if parts is None:
            continue
        lanes, width, first, second = (syntax.code(parts[part]) for part in ("LANES_", "W_", "FIRST_", "SECOND_"))
        ranged = syntax.match("tl.arange(0, 2 * W_)", values[lanes]) if lanes in values else None
        known = kernel.parameter(first) is not None and kernel.parameter(second) is not None
        if known and ranged is not None and syntax.same(ranged["W_"], parts["W_"]):
            found[name] = _Choice(first, second, width)
    return found


def _first_box(
    module: TritonModule, kernel: Kernel, call: cst.Call, made: str, chosen: Mapping[str, _Choice]
) -> Box | None:
    """Read the box of the first matrix, in the kernel as it is for the first lanes alone; `made` is what it loads."""
    texts: dict[cst.CSTNode, str] = {}
    for node in kernel.nodes:
        lanes = syntax.match("LANES_ % W_", node) if isinstance(node, cst.BinaryOperation) else None
        if lanes is not None and any(_same_text(syntax.code(lanes["W_"]), one.width) for one in chosen.values()):
            texts[node] = f"tl.arange(0, {syntax.code(lanes['W_'])})"
    inside = {id(n) for node in texts for n in syntax.walk(node)}
    for name in variables(call):
        if name.value in chosen and id(name) not in inside:
            texts[name] = chosen[name.value].first
    source = module.edits().moved([kernel.node.decorators[0], kernel.node], texts)
    for text in set(texts.values()):
        source = source.replace(f"({text})", text)
    alone = parse(f"{HEAD}{source}\n")
    if alone is None or len(alone.kernels) != 1:
        return None
    calls = [pair[1] for node in alone.kernels[0].nodes if (pair := _assigned(node)) is not None and pair[0] == made]
    return box(alone.kernels[0], calls[0]) if len(calls) == 1 and isinstance(calls[0], cst.Call) else None


def _assigned(node: cst.CSTNode) -> tuple[str, cst.BaseExpression] | None:
    return syntax.assigned(node) if isinstance(node, cst.Assign) else None


def _taken_apart(kernel: Kernel, operand: str) -> tuple[cst.SimpleStatementLine, tuple[str, str]] | None:
    """Find the statement that takes the product with an operand apart, and the names of the parts.

    None where the operand or the product is used for anything else.
    """
    sums = [pair[0] for node in kernel.nodes if (pair := _assigned(node)) is not None
            and syntax.match(f"tl.dot(LEFT_, {operand}, {pair[0]})", pair[1]) is not None]  # fmt: skip
    if len(sums) != 1 or uses(kernel.node.body, operand) != 2:
        return None
    pattern = f"tl.split(tl.permute(tl.reshape({sums[0]}, (ROWS_, 2, W_)), (0, 2, 1)))"
    found = []
    for line in (node for node in kernel.nodes if isinstance(node, cst.SimpleStatementLine) and len(node.body) == 1):
        small = line.body[0]
        if not isinstance(small, cst.Assign) or syntax.match(pattern, small.value) is None:
            continue
        target = small.targets[0].target
        names = [syntax.code(each.value) for each in target.elements] if isinstance(target, cst.Tuple) else []
        if len(small.targets) == 1 and len(names) == 2:
            found.append((line, (names[0], names[1])))
    resets = sum(1 for node in kernel.nodes if (pair := _assigned(node)) is not None and pair[0] == sums[0]) - 1
    # the product itself: made and added to in the one statement, taken apart in the other, and set to zero
    return found[0] if len(found) == 1 and uses(kernel.node.body, sums[0]) == 3 + resets else None


def _same_text(one: str, other: str) -> bool:
    return syntax.same(cst.parse_expression(one), cst.parse_expression(other))
