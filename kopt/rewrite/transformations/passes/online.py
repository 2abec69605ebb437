"""Walk a row once for its maximum and for the sum of exponentials: where the maximum grows, the sum is scaled down.

Both are kept for each element of a tile, so that no step of the loop reduces anything; after the loop the sums of all
elements are scaled to the row's maximum.  It is for rows too long for registers, for which `whole_row` offers no site.
"""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from random import Random

import libcst as cst

from kopt.rewrite.effects import without_accesses
from kopt.rewrite.limits import LONGEST_ROW
from kopt.rewrite.source import syntax
from kopt.rewrite.source.loop_pairs import Pair, is_inductors, joined_lines, loaded, pairs, written_out
from kopt.rewrite.source.module import Kernel, TritonModule
from kopt.rewrite.source.statements import names_stored
from kopt.rewrite.source.updates import is_float32_zero, uses
from kopt.rewrite.transformation import Change, RewriteFacts, Site, Transformation, change

EXPONENTIALS = ("tl.exp", "tl.math.exp", "libdevice.exp", "tl.exp2", "tl.math.exp2", "libdevice.exp2")
TAKEN = frozenset({"next_largest", "shift"})
SHORT = 0.15
"""Weight where a row would fit into registers, so that it can be read once."""


@dataclass(frozen=True, eq=False)
class Online:
    """Two loops over a row that can be one."""

    pair: Pair
    maximum: cst.Name
    """The row's maximum where the second loop subtracts it."""
    exponential: str
    scale: str
    """Factor on the difference in the exponent, with its sign and operator; may be empty."""
    total: str
    """The maximum's name after the first loop: the carried one, or that of its reduction."""


def _sites(module: TritonModule, facts: RewriteFacts) -> Sequence[Site]:
    sites = []
    for kernel in module.kernels:
        launch = module.only_launch(kernel)
        if launch is None or TAKEN & kernel.names:
            continue
        for pair in pairs(module, kernel):
            read = _online(module, kernel, pair)
            if read is not None:
                short = longest_row(facts) <= LONGEST_ROW
                sites.append(Site(partial(_join, module, kernel, read), SHORT if short else 1.0))
    return sites


def longest_row(facts: RewriteFacts) -> int:
    """Return the longest last dimension of an input, 0 where none is known."""
    return max((t.shape[-1] for w in facts.workloads for t in w.inputs if t.shape), default=0)


def _online(module: TritonModule, kernel: Kernel, pair: Pair) -> Online | None:
    """Read two loops as a maximum, and as a sum that is linear in the exponential of a difference from it."""
    largest, total = pair.updates
    if largest.adds or not total.adds or not _starts_smallest(kernel, pair) or not _starts_zero(pair):
        return None
    found = _exponential(total.value, pair.made[1])
    if found is None:
        return None
    exponential, difference, scale = found
    value, subtracted = difference
    name = subtracted.value
    lanes = name != largest.name
    if uses(pair.second.body, name) != 1 or (lanes and not _is_reduced(module, kernel, pair, name)):
        return None
    compared = largest.value
    if not lanes:
        whole = syntax.match("tl.max(X_, axis=0)", compared) or syntax.match("tl.max(X_, 0)", compared)
        if whole is None or not isinstance(whole["X_"], cst.BaseExpression):
            return None
        compared = whole["X_"]
    written = {n for s in pair.between for n in names_stored(s)}
    if any(uses(pair.second.body, n) for n in written - {name}) or not _same(pair, compared, value):
        return None
    return Online(pair, subtracted, exponential, scale, name)


def _starts_smallest(kernel: Kernel, pair: Pair) -> bool:
    name = pair.updates[0].name
    made = next(p[1] for s in kernel.body if (p := syntax.assigned(s)) and p[0] == name)
    if isinstance(made, cst.Call) and syntax.called(made) == "tl.full":
        filled = syntax.argument(made, 1, "value")
        dtype = syntax.argument(made, 2, "dtype")
        exact = dtype is not None and syntax.code(dtype.value) == "tl.float32"
        return exact and filled is not None and _infinite(filled.value)
    return _infinite(made)


def _infinite(node: cst.BaseExpression) -> bool:
    return syntax.code(node).replace("'", '"') in ('float("-inf")', '-float("inf")')


def _starts_zero(pair: Pair) -> bool:
    made = syntax.assigned(pair.start)
    return made is not None and is_float32_zero(made[1])


def _is_reduced(module: TritonModule, kernel: Kernel, pair: Pair, name: str) -> bool:
    """Return whether a name is the maximum over what the first loop carries, made once, right after the loop."""
    carried = pair.updates[0].name
    lines = [s for s in kernel.body if name in names_stored(s)]
    made = syntax.assigned(lines[0]) if len(lines) == 1 and lines[0] in pair.between else None
    if made is None:
        return False
    value = made[1]
    if isinstance(value, cst.Subscript):
        value = value.value
    functions = ["tl.max"] + (["max2"] if is_inductors(module, "max2") and is_inductors(module, "maximum") else [])
    patterns = [f"{function}({carried}, {axis})" for function in functions for axis in ("AXIS_", "axis=AXIS_")]
    patterns.append(f"tl.max({carried}, axis=AXIS_, keep_dims=True)")
    return any(syntax.match(pattern, value) is not None for pattern in patterns)


Found = tuple[str, tuple[cst.BaseExpression, cst.Name], str]


def _exponential(node: cst.CSTNode, made: Mapping[str, cst.BaseExpression]) -> Found | None:
    """Find the one exponential of a difference that a value is a multiple of; None where it is no multiple of one."""
    while True:
        if isinstance(node, cst.Name) and node.value in made:
            node = made[node.value]
            continue
        if not isinstance(node, (cst.Call, cst.BinaryOperation)):
            return None
        if isinstance(node, cst.Call) and syntax.called(node) in EXPONENTIALS and len(node.args) == 1:
            read = _difference(node.args[0].value, made)
            return (syntax.called(node), *read) if read is not None else None
        inner = _factor(node, made)
        if inner is None:
            return None
        node = inner


def _factor(node: cst.CSTNode, made: Mapping[str, cst.BaseExpression]) -> cst.CSTNode | None:
    """Return the part of a linear function that holds the exponential."""
    if isinstance(node, cst.Call):
        for pattern in ("tl.broadcast_to(X_, SHAPE_)", "X_.to(tl.float32)", "tl.where(MASK_, X_, 0.0)",
                        "tl.where(MASK_, X_, 0)", "tl.sum(X_, axis=0)", "tl.sum(X_, 0)"):  # fmt: skip
            found = syntax.match(pattern, node)
            if found is not None:
                return found["X_"]
    if isinstance(node, cst.BinaryOperation) and isinstance(node.operator, cst.Multiply):
        sides = [node.left, node.right]
        held = [s for s in sides if any(f in written_out(s, made) for f in EXPONENTIALS)]
        return held[0] if len(held) == 1 else None
    return None


def _difference(
    node: cst.BaseExpression, made: Mapping[str, cst.BaseExpression]
) -> tuple[tuple[cst.BaseExpression, cst.Name], str] | None:
    """Read `value - maximum`, or a positive multiple of it."""
    for _ in range(4):
        if isinstance(node, cst.Name) and node.value in made:
            node = made[node.value]
    scaled = syntax.match("(X_ - M_) * SCALE_", node)
    scale = ""
    if scaled is not None and isinstance(scaled["SCALE_"], cst.Float):
        scale, node = f" * {syntax.code(scaled['SCALE_'])}", cst.BinaryOperation(
            _expression(scaled["X_"]), cst.Subtract(), _expression(scaled["M_"])
        )  # fmt: skip
    found = syntax.match("X_ - M_", node)
    if found is None or not isinstance(found["M_"], cst.Name) or not isinstance(found["X_"], cst.BaseExpression):
        return None
    return (found["X_"], found["M_"]), scale


def _expression(node: cst.CSTNode) -> cst.BaseExpression:
    assert isinstance(node, cst.BaseExpression)
    return node


def _same(pair: Pair, compared: cst.BaseExpression, value: cst.BaseExpression) -> bool:
    """Return whether both loops read the same elements wherever the sum counts them."""
    first, second = pair.made
    largest, total = pair.updates
    if largest.mask and largest.mask != total.mask:
        return False
    if written_out(compared, first) == written_out(value, second):
        return True
    texts = []
    for node, made in ((compared, first), (value, second)):
        call = loaded(node, made)
        if call is None:
            return False
        places = [syntax.argument(call, place, name) for place, name in enumerate(("pointer", "mask"))]
        texts.append([written_out(a.value, made) if a else "" for a in places])
    return texts[0] == texts[1] and total.mask == largest.mask == texts[0][1] != ""


def _join(module: TritonModule, kernel: Kernel, read: Online, rng: Random) -> Change | None:
    pair = read.pair
    largest, total = pair.updates
    edits = module.edits()
    exponential, scale = read.exponential, read.scale
    first = [edits.moved([line], {}).rstrip("\n") for line in pair.lines[0] if line is not largest.last]
    grown = syntax.assigned(largest.last)
    if grown is None:
        return None
    rescaled = f"({total.name} * {exponential}(({largest.name} - shift){scale}))"
    texts = []
    for line in pair.lines[1]:
        changed: dict[cst.CSTNode, str] = {read.maximum: "shift"}
        if line is total.statement and isinstance(line.body[0], cst.AugAssign):
            added = edits.text_of(total.value, changed)
            texts.append(f"{total.name} = {rescaled} + {added}")
            continue
        if line is total.statement:
            changed[total.old] = rescaled
        texts.append(edits.moved([line], changed).rstrip("\n"))
    lines = [
        *first, f"next_largest = {syntax.code(grown[1])}",
        '# No number has come yet where the largest one is still minus infinity.',
        'shift = tl.where(next_largest == float("-inf"), 0.0, next_largest)',
        *joined_lines(pair, texts), f"{largest.name} = next_largest",
    ]  # fmt: skip
    loop = f"for {syntax.code(pair.first.target)} in {syntax.code(pair.first.iter)}:"
    start = edits.moved([pair.start], {}).rstrip("\n")
    edits.replace_statement(pair.first, f"{start}\n{loop}\n{textwrap.indent(chr(10).join(lines), '    ')}")
    edits.remove_statement(pair.start)
    edits.remove_statement(pair.second)
    if read.total != largest.name:
        scaled = f"({total.name} * {exponential}(({largest.name} - {read.total}){scale}))"
        for statement in pair.after:
            for node in (n for n in syntax.walk(statement) if isinstance(n, cst.Name) and n.value == total.name):
                edits.replace(node, scaled)
    return change(
        edits,
        f"one loop of {kernel.name} finds the largest element of a row and the sum of exponentials, which is scaled "
        "down where the largest element grows",
    )


TRANSFORMATIONS = (
    Transformation(
        "online_softmax", "a row is walked once for its maximum and its sum of exponentials, which the maximum scales",
        (), ("redundant_traffic",), _sites, 4.0, marks=("next_largest",), effect=without_accesses,
    ),
)  # fmt: skip
