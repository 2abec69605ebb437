"""Walk a row once for its maximum and for the sum of exponentials: where the maximum grows, the sum is scaled down.

The maximum is kept for each element of a tile, so that no step of the loop reduces anything, and after the loop the
sums of all elements are scaled to the row's maximum; or it is kept for the row, which costs a reduction in each step
and saves an exponential of each element.  It is for rows too long for registers, for which `whole_row` offers no site.
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
from kopt.rewrite.source.edit import Edits
from kopt.rewrite.source.loop_pairs import Pair, as_float32, is_inductors, joined_lines, loaded, pairs, written_out
from kopt.rewrite.source.module import Kernel, TritonModule
from kopt.rewrite.source.statements import names_stored
from kopt.rewrite.source.updates import initial, is_float32_zero, uses
from kopt.rewrite.transformation import Change, RewriteFacts, Site, Transformation, change

EXPONENTIALS = ("tl.exp", "tl.math.exp", "libdevice.exp", "tl.exp2", "tl.math.exp2", "libdevice.exp2")
TAKEN = frozenset({"next_largest", "shift"})
STEPWISE = 0.5
"""Probability that one maximum is kept for a row, with a reduction in each step, instead of one for each element."""
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
    reduction: cst.BaseExpression | None
    """The expression that makes the row's maximum of the tile that the first loop carries; None where it carries the
    maximum itself."""


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
    reduction = _reduction(module, kernel, pair, name) if lanes else None
    if uses(pair.second.body, name) != 1 or (lanes and reduction is None):
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
    return Online(pair, subtracted, exponential, scale, reduction)


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


def _reduction(module: TritonModule, kernel: Kernel, pair: Pair, name: str) -> cst.BaseExpression | None:
    """Return how a name is made of what the first loop carries, if it is its maximum, made once, after the loop."""
    carried = pair.updates[0].name
    lines = [s for s in kernel.body if name in names_stored(s)]
    made = syntax.assigned(lines[0]) if len(lines) == 1 and lines[0] in pair.between else None
    if made is None:
        return None
    value = made[1].value if isinstance(made[1], cst.Subscript) else made[1]
    functions = ["tl.max"] + (["max2"] if is_inductors(module, "max2") and is_inductors(module, "maximum") else [])
    patterns = [f"{function}({carried}, {axis})" for function in functions for axis in ("AXIS_", "axis=AXIS_")]
    patterns.append(f"tl.max({carried}, axis=AXIS_, keep_dims=True)")
    return made[1] if any(syntax.match(pattern, value) is not None for pattern in patterns) else None


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
    by_step = read.reduction is not None and rng.random() < STEPWISE
    first = [line for line in pair.lines[0] if line is not largest.last and not (by_step and line is largest.statement)]
    grown = _grown(edits, read) if by_step else syntax.code(_value(largest.last))
    loop = f"for {syntax.code(pair.first.target)} in {syntax.code(pair.first.iter)}:"
    lines = [
        *(edits.moved([line], {}).rstrip("\n") for line in first), f"next_largest = {grown}",
        "# No number has come yet where the largest one is still minus infinity.",
        'shift = tl.where(next_largest == float("-inf"), 0.0, next_largest)',
        *joined_lines(pair, _scaled_lines(edits, read, by_step)), f"{largest.name} = next_largest",
    ]  # fmt: skip
    start = edits.moved([pair.start], {}).rstrip("\n")
    edits.replace_statement(pair.first, f"{start}\n{loop}\n{textwrap.indent(chr(10).join(lines), '    ')}")
    edits.remove_statement(pair.start)
    edits.remove_statement(pair.second)
    if by_step and read.reduction is not None:
        filled = _value(initial(kernel, largest.name, pair.first))
        edits.replace(filled, _reduced(edits, read.reduction, largest.name, syntax.code(filled)))
        edits.replace(read.reduction, largest.name)
    elif read.reduction is not None:
        scaled = f"({total.name} * {_rescaling(read)}(({largest.name} - {read.maximum.value}){read.scale}))"
        for statement in pair.after:
            for node in (n for n in syntax.walk(statement) if isinstance(n, cst.Name) and n.value == total.name):
                edits.replace(node, scaled)
    how = "the row" if by_step else "each element of the tile"
    return change(
        edits,
        f"one loop of {kernel.name} finds the largest element of a row and the sum of exponentials, which is scaled "
        f"down where the largest element grows, kept for {how}",
    )


def _value(statement: cst.CSTNode | None) -> cst.BaseExpression:
    made = syntax.assigned(statement) if statement is not None else None
    assert made is not None
    return made[1]


def _rescaling(read: Online) -> str:
    """Name the exponential for factors on sums, of which a fast one is accurate enough."""
    return "tl.exp2" if read.exponential.endswith("exp2") else "tl.exp"


def _reduced(edits: Edits, reduction: cst.BaseExpression, name: str, text: str) -> str:
    """Write the reduction of the first loop's name with another expression in the name's place."""
    return edits.text_of(reduction, {n: text for n in syntax.walk(reduction)
                                     if isinstance(n, cst.Name) and n.value == name})  # fmt: skip


def _grown(edits: Edits, read: Online) -> str:
    """Write the largest element of a row after a step."""
    largest = read.pair.updates[0]
    assert read.reduction is not None
    term = as_float32(largest.value)
    masked = syntax.match(f"tl.where(MASK_, NEXT_, {largest.name})", _value(largest.last))
    if masked is not None:
        term = f'tl.where({syntax.code(masked["MASK_"])}, {term}, float("-inf"))'
    compares = next(n for n in syntax.walk(largest.statement) if isinstance(n, cst.Call)
                    and any(a.value is largest.old for a in n.args))  # fmt: skip
    return f"{syntax.called(compares)}({largest.name}, {_reduced(edits, read.reduction, largest.name, term)})"


def _scaled_lines(edits: Edits, read: Online, by_step: bool) -> list[str]:
    """Write the second loop's statements, with the sum scaled down where the largest element has grown."""
    largest, total = read.pair.updates
    rescaled = f"({total.name} * {_rescaling(read)}(({largest.name} - shift){read.scale}))"
    texts = []
    for line in read.pair.lines[1]:
        changed: dict[cst.CSTNode, str] = {read.maximum: "shift"}
        if line is total.statement and isinstance(line.body[0], cst.AugAssign):
            texts.append(f"{total.name} = {rescaled} + {edits.text_of(total.value, changed)}")
            continue
        if line is total.statement:
            changed[total.old] = rescaled
        kept = syntax.match("tl.where(MASK_, NEXT_, KEPT_)", _value(line)) if line is total.last else None
        if by_step and kept is not None:
            changed[kept["KEPT_"]] = rescaled
        texts.append(edits.moved([line], changed).rstrip("\n"))
    return texts


TRANSFORMATIONS = (
    Transformation(
        "online_softmax", "a row is walked once for its maximum and its sum of exponentials, which the maximum scales",
        (), ("redundant_traffic",), _sites, 4.0, marks=("next_largest",), effect=without_accesses,
    ),
)  # fmt: skip
