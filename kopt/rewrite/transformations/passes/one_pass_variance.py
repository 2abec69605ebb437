"""Walk a row once for its mean and for the squares of what its elements are off the mean.

Each element of the tile keeps a sum and a sum of squares about its own running mean, which are updated as Youngs and
Cramer do (`squares += (n * x - sum)**2 / (n * (n - 1))`, `sum` with x in it): no difference of large sums is taken, so
the rounding error is that of Welford's method, which PyTorch's own layer norm uses on GPUs.  After the loop the tile's
elements are joined exactly, about the mean that the kernel has worked out.
"""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from random import Random

import libcst as cst

from kopt.rewrite.effects import without_accesses
from kopt.rewrite.limits import LONGEST_ROW
from kopt.rewrite.source import syntax
from kopt.rewrite.source.divisibility import bounds, definitions
from kopt.rewrite.source.loop_pairs import Pair, as_float32, joined_lines, loaded, pairs, written_out
from kopt.rewrite.source.module import Kernel, Launch, TritonModule
from kopt.rewrite.source.shapes import analyse
from kopt.rewrite.source.statements import names_stored
from kopt.rewrite.source.updates import is_float32_zero, uses
from kopt.rewrite.transformation import Change, RewriteFacts, Site, Transformation, change
from kopt.rewrite.transformations.passes.online import SHORT, longest_row

TAKEN = frozenset({"walked", "share", "next_sum", "lane_count", "lane_offset"})


@dataclass(frozen=True, eq=False)
class Variance:
    """Two loops over a row that can be one."""

    pair: Pair
    difference: cst.BinaryOperation
    """The element less the mean."""
    value: cst.BaseExpression
    """The element."""
    mean: str
    size: str
    block: str
    lanes: str
    """The range over the tile, as the sums are shaped."""


def _sites(module: TritonModule, facts: RewriteFacts) -> Sequence[Site]:
    sites = []
    for kernel in module.kernels:
        launch = module.only_launch(kernel)
        if launch is None or TAKEN & kernel.names:
            continue
        for pair in pairs(module, kernel):
            read = _variance(module, kernel, launch, pair)
            if read is not None:
                weight = SHORT if longest_row(facts) <= LONGEST_ROW else 1.0
                sites.append(Site(partial(_join, module, kernel, read), weight))
    return sites


def _variance(module: TritonModule, kernel: Kernel, launch: Launch, pair: Pair) -> Variance | None:
    """Read two loops as a sum, and as the sum of squares of differences from one number."""
    total, squares = pair.updates
    first, second = pair.made
    if not (total.adds and squares.adds) or total.mask or squares.mask or not _start_zero(kernel, pair):
        return None
    root = _root(squares.value)
    centred = second.get(root.value) if isinstance(root, cst.Name) else root
    found = syntax.match("tl.where(MASK_, X_ - MEAN_, ZERO_)", centred) if centred is not None else None
    if found is None or syntax.code(found["ZERO_"]) not in ("0.0", "0") or not isinstance(found["MEAN_"], cst.Name):
        return None
    call = loaded(found["X_"], second)
    difference = next(n for n in syntax.walk(centred or root) if isinstance(n, cst.BinaryOperation)
                      and syntax.match("X_ - MEAN_", n) is not None)  # fmt: skip
    mean = found["MEAN_"].value
    between = {n for s in pair.between for n in names_stored(s)}
    if (
        uses(pair.second.body, mean) != 1
        or mean not in between
        or any(uses(pair.second.body, n) for n in between - {mean})
    ):
        return None
    if call is None or written_out(total.value, first) != written_out(call, second) or not _zero_outside(call):
        return None
    mask = syntax.argument(call, 1, "mask")
    if mask is None or written_out(mask.value, second) != written_out(found["MASK_"], second):
        return None
    shaped = _lanes(kernel, module, launch, pair, mask.value)
    value = found["X_"]
    if shaped is None or not isinstance(value, cst.BaseExpression):
        return None
    return Variance(pair, difference, value, mean, *shaped)


def _root(node: cst.BaseExpression) -> cst.BaseExpression | None:
    found = syntax.match("X_ * X_", node)
    root = found["X_"] if found is not None else None
    return root if isinstance(root, cst.BaseExpression) else None


def _start_zero(kernel: Kernel, pair: Pair) -> bool:
    made = [p[1] for s in kernel.body if (p := syntax.assigned(s)) and p[0] in {u.name for u in pair.updates}]
    return len(made) == 2 and all(is_float32_zero(value) and isinstance(value, cst.Call) for value in made)


def _zero_outside(call: cst.Call) -> bool:
    other = syntax.argument(call, 2, "other")
    return other is not None and syntax.code(other.value) in ("0.0", "0", "0.")


def _lanes(
    kernel: Kernel, module: TritonModule, launch: Launch, pair: Pair, mask: cst.BaseExpression
) -> tuple[str, str, str] | None:
    """Return size, block and range of the row, if the mask is that its offsets lie below the size."""
    made = definitions(kernel)
    node = made.get(mask.value, mask) if isinstance(mask, cst.Name) else mask
    plain = [a.value for a in pair.first.iter.args] if isinstance(pair.first.iter, cst.Call) else []
    size, block = (syntax.code(a) for a in plain[1:3])
    bound = [b for b in bounds(module, kernel, launch) if syntax.same(b.comparison, node)]
    if not bound or any((b.size, b.block) != (size, block) for b in bound):
        return None
    shapes = []
    for update in pair.updates:
        start = next(p[1] for s in kernel.body if (p := syntax.assigned(s)) and p[0] == update.name)
        known = analyse(kernel).get(start)
        shapes.append(known.shape if known is not None else None)
    if shapes[0] == shapes[1] == (block,):
        return size, block, f"tl.arange(0, {block})"
    return None


def _join(module: TritonModule, kernel: Kernel, read: Variance, rng: Random) -> Change | None:
    pair = read.pair
    total, squares = pair.updates
    edits = module.edits()
    variable = syntax.code(pair.first.target)
    first = []
    for line in pair.lines[0]:
        if line is total.last:
            first.append(f"next_sum = {total.name} + {syntax.operand(total.value)}")
        else:
            first.append(edits.moved([line], {}).rstrip("\n"))
    texts = []
    centred = f"walked * {as_float32(read.value)} - next_sum"
    for line in pair.lines[1]:
        if line is squares.last:
            added = edits.text_of(squares.value, {read.difference: centred})
            texts.append(f"{squares.name} = {squares.name} + {added} * share")
        else:
            texts.append(edits.moved([line], {read.difference: centred}).rstrip("\n"))
    lines = [
        *first,
        f"walked = 1.0 * ({variable} // {read.block} + 1)",
        "share = tl.where(walked > 1, 1.0 / (walked * tl.maximum(walked - 1, 1.0)), 0.0)",
        *joined_lines(pair, texts),
        f"{total.name} = next_sum",
    ]
    loop = f"for {variable} in {syntax.code(pair.first.iter)}:"
    start = edits.moved([pair.start], {}).rstrip("\n")
    after = [
        f"lane_count = (tl.maximum({read.size} - {read.lanes} + {read.block} - 1, 0) // {read.block}).to(tl.float32)",
        f"lane_offset = {total.name} / tl.maximum(lane_count, 1.0)",
    ]
    edits.replace_statement(
        pair.first, f"{start}\n{loop}\n{textwrap.indent(chr(10).join(lines), '    ')}\n" + "\n".join(after)
    )
    edits.remove_statement(pair.start)
    joined = f"{squares.name} = {squares.name} + lane_count * (lane_offset - {read.mean}) * (lane_offset - {read.mean})"
    edits.replace_statement(pair.second, joined)
    return change(
        edits,
        f"one loop of {kernel.name} sums a row and its squares about running means, which keep the accuracy of two "
        "passes",
    )


TRANSFORMATIONS = (
    Transformation(
        "one_pass_variance", "a row is walked once for its mean and its variance, by sums about running means",
        (), ("redundant_traffic",), _sites, 4.0, marks=("lane_count",), effect=without_accesses,
    ),
)  # fmt: skip
