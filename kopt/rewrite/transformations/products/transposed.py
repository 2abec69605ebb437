"""Swap the operands of a product with few rows, so that these are the columns of the matrix instruction.

A matrix instruction of Hopper has 64 rows and 8 to 256 columns.  A product whose tile has fewer rows takes an older,
slower instruction.  The transposed product has the few rows as columns, and is transposed back after the loop.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from random import Random

import libcst as cst

from kopt.rewrite.effects import warp_group_products
from kopt.rewrite.source import syntax
from kopt.rewrite.source.module import Constant, Kernel, TritonModule
from kopt.rewrite.source.updates import addition, initial, is_zero, uses
from kopt.rewrite.transformation import Change, RewriteFacts, Site, Transformation, change, weight
from kopt.rewrite.transformations.tiles import blocks, choices, unmasked

FULL = 64
"""Rows of a matrix instruction: tiles with fewer do not fill it."""


@dataclass(frozen=True, eq=False)
class Sum:
    """A product that a loop accumulates."""

    name: str
    line: cst.BaseSmallStatement
    left: cst.BaseExpression
    right: cst.BaseExpression
    start: cst.SimpleStatementLine
    rows: str
    columns: str


def _sites(module: TritonModule, facts: RewriteFacts) -> Sequence[Site]:
    sites = []
    for kernel in module.kernels:
        if module.only_launch(kernel) is None:
            continue
        for loop in (loop for loop in kernel.loops if loop in kernel.body):
            sums = [s for line in loop.body.body if (s := _sum(kernel, loop, line)) is not None]
            values = {c.name: c for c in blocks(module) if c.kernel is kernel}
            rows = [values.get(s.rows) for s in sums]
            few = all(c is not None and c.value < FULL for c in rows)
            columns = _columns(kernel, [values.get(s.columns) for s in sums])
            if sums and len(sums) == len(kernel.called("tl.dot")) and few and columns is not None:
                sites.append(Site(partial(_swap, module, kernel, loop, sums, columns), weight(kernel)))
    return sites


def _columns(kernel: Kernel, constants: Sequence[Constant | None]) -> tuple[Constant, ...] | None:
    """List the columns' block sizes that must become larger to fill the instruction; None where one cannot."""
    narrow = [c for c in constants if c is None or c.value < FULL]
    found = {c.name: c for c in narrow if c is not None and FULL in choices(c) and not unmasked(kernel, c.name)}
    return tuple(found.values()) if all(c is not None and c.name in found for c in narrow) else None


def _sum(kernel: Kernel, loop: cst.For, line: cst.CSTNode) -> Sum | None:
    """Read a statement as a product added to an accumulator from zero, which nothing else in the loop uses."""
    small = line.body[0] if isinstance(line, cst.SimpleStatementLine) and len(line.body) == 1 else None
    added = addition(small) if small is not None else None
    if added is None or not isinstance(small, cst.BaseSmallStatement):
        return None
    value = small.value if isinstance(small, (cst.Assign, cst.AugAssign)) else None
    dot = added.value if added.value is not None else value
    if (
        not isinstance(dot, cst.Call)
        or syntax.called(dot) != "tl.dot"
        or any(a.keyword is not None and a.keyword.value != "acc" for a in dot.args)
    ):
        return None
    start = initial(kernel, added.name, loop)
    pair = syntax.assigned(start) if start is not None else None
    shape = syntax.match("tl.zeros((ROWS_, COLUMNS_), dtype=tl.float32)", pair[1]) if pair is not None else None
    if start is None or pair is None or shape is None or not is_zero(pair[1]) or len(dot.args) < 2:
        return None
    own = 2 if not isinstance(small, cst.AugAssign) else 1
    if uses(loop.body, added.name) != own:
        return None
    rows, columns = syntax.code(shape["ROWS_"]), syntax.code(shape["COLUMNS_"])
    return Sum(added.name, small, dot.args[0].value, dot.args[1].value, start, rows, columns)


def _swap(
    module: TritonModule, kernel: Kernel, loop: cst.For, sums: Sequence[Sum], columns: Sequence[Constant], rng: Random
) -> Change | None:
    edits = module.edits()
    for constant in columns:
        edits.replace(constant.literal, str(FULL))
    back = []
    for each in sums:
        turned = kernel.fresh(f"{each.name}_turned")
        edits.replace_statement(each.start, f"{turned} = tl.zeros(({each.columns}, {each.rows}), dtype=tl.float32)")
        left, right = syntax.code(each.left), syntax.code(each.right)
        edits.replace(each.line, f"{turned} = tl.dot(tl.trans({right}), tl.trans({left}), {turned})")
        back.append(f"{each.name} = tl.trans({turned})")
    edits.statements_after(loop, "\n".join(back))
    return change(
        edits,
        f"the products of {kernel.name} are transposed: {sums[0].rows} rows are columns of the matrix instruction",
    )


TRANSFORMATIONS = (
    Transformation(
        "transposed_product", "a product with few rows has them as columns of the matrix instruction",
        ("tensor_cores",), ("tensor_cores_idle", "small_tiles"), _sites, 1.0, marks=("_turned",),
        effect=warp_group_products,
    ),
)  # fmt: skip
