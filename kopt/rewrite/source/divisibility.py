"""Find the comparisons of offsets with a size that hold everywhere when the size is a multiple of a block.

An expression is read as a sum of terms, through names that are assigned once.  `k + offsets < K` holds for all elements
when K is a multiple of BLOCK, if `offsets` is `tl.arange(0, BLOCK)` and k runs over `range(0, K, BLOCK)`, or if k is
`program * BLOCK` and the grid has `cdiv(K, BLOCK)` programs.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

import libcst as cst

from kopt.rewrite.source import syntax
from kopt.rewrite.source.module import Kernel, Launch, TritonModule

DEPTH = 12
"""Most names that are followed to their definitions."""


@dataclass(frozen=True, eq=False)
class Bound:
    """A comparison that is true everywhere when `size % block == 0`."""

    comparison: cst.Comparison
    size: str
    """Name of the kernel's parameter."""
    block: str
    """Name of the constexpr parameter."""


@lru_cache(maxsize=64)
def definitions(kernel: Kernel) -> Mapping[str, cst.BaseExpression]:
    """Find the names of a kernel that are assigned in one place, or always to the same text, with their values."""
    values: dict[str, cst.BaseExpression] = {}
    barred = {p.name for p in kernel.parameters}
    for node in kernel.nodes:
        if isinstance(node, (cst.AugAssign, cst.For, cst.NamedExpr)) and isinstance(node.target, cst.Name):
            barred.add(node.target.value)
        elif isinstance(node, cst.Assign):
            pair = syntax.assigned(node)
            if pair is None:
                barred |= {n for t in node.targets for n in syntax.names(t.target)}
            elif pair[0] in values and not syntax.same(values[pair[0]], pair[1]):
                barred.add(pair[0])
            else:
                values[pair[0]] = pair[1]
    return {name: value for name, value in values.items() if name not in barred}


def terms(
    node: cst.BaseExpression, made: Mapping[str, cst.BaseExpression], sign: int = 1, depth: int = DEPTH
) -> Counter[str]:
    """Read a sum as its terms, each with its sign; broadcasting, casts and hints do not count.

    Args:
        node: the sum.
        made: definitions of names, which are followed.
        sign: sign of the whole sum.
        depth: most definitions to follow.
    """
    total: Counter[str] = Counter()
    match node:
        case cst.BinaryOperation(operator=cst.Add()):
            total.update(terms(node.left, made, sign, depth))
            total.update(terms(node.right, made, sign, depth))
        case cst.BinaryOperation(operator=cst.Subtract()):
            total.update(terms(node.left, made, sign, depth))
            total.update(terms(node.right, made, -sign, depth))
        case cst.BinaryOperation(operator=cst.Modulo()) if _lanes(node.left, made):
            total[f"tl.arange(0, {_plain(node.right)})"] += sign
        case cst.Name() if node.value in made and depth:
            total.update(terms(made[node.value], made, sign, depth - 1))
        case cst.Subscript() if {syntax.code(e.slice) for e in node.slice} <= {":", "None"}:
            total.update(terms(node.value, made, sign, depth))
        case cst.Call() if _transparent(node) is not None:
            inner = _transparent(node)
            assert inner is not None
            total.update(terms(inner, made, sign, depth))
        case cst.Integer(value="0"):
            pass
        case _:
            total[_plain(node)] += sign
    return Counter({text: count for text, count in total.items() if count})


def _lanes(node: cst.BaseExpression, made: Mapping[str, cst.BaseExpression]) -> bool:
    """Return whether an expression is a range from 0, whose remainders span the same numbers as a shorter range."""
    value = made.get(node.value, node) if isinstance(node, cst.Name) else node
    return syntax.match("tl.arange(0, END_)", value) is not None


def _transparent(call: cst.Call) -> cst.BaseExpression | None:
    """Return the expression inside a cast or a hint, None for other calls."""
    if isinstance(call.func, cst.Attribute) and call.func.attr.value == "to" and syntax.dotted(call.func.value) != "tl":
        return call.func.value
    if syntax.called(call) in ("tl.multiple_of", "tl.max_contiguous") and call.args:
        return call.args[0].value
    return None


def _plain(node: cst.BaseExpression) -> str:
    """Write a term without casts."""
    if isinstance(node, cst.BinaryOperation) and isinstance(node.operator, cst.Multiply):
        return f"{_plain(node.left)} * {_plain(node.right)}"
    if isinstance(node, cst.Call) and (inner := _transparent(node)) is not None:
        return _plain(inner)
    return syntax.code(node).strip("()") if isinstance(node, cst.Name) else syntax.code(node)


def bounds(module: TritonModule, kernel: Kernel, launch: Launch) -> list[Bound]:
    """Find the comparisons of a kernel that a divisible size makes true everywhere."""
    made = definitions(kernel)
    blocks = {p.name for p in kernel.parameters if p.constexpr}
    sizes = {p.name for p in kernel.parameters}
    divisible = []
    for node in kernel.nodes:
        if isinstance(node, cst.Comparison) and [type(c.operator) for c in node.comparisons] == [cst.LessThan]:
            whole = terms(node.left, made)
            whole.subtract(terms(node.comparisons[0].comparator, made))
            bound = _bound({t: c for t, c in whole.items() if c}, kernel, launch, made, blocks, sizes)
            if bound:
                divisible.append(Bound(node, *bound))
    return divisible


def _bound(
    whole: Mapping[str, int],
    kernel: Kernel,
    launch: Launch,
    made: Mapping[str, cst.BaseExpression],
    blocks: set[str],
    sizes: set[str],
) -> tuple[str, str] | None:
    sums = [t for t, c in whole.items() if c == 1]
    size = next((t for t, c in whole.items() if c == -1 and t in sizes), None)
    block = next((b for b in sorted(blocks) if f"tl.arange(0, {b})" in sums), None)
    if size is None or block is None or len(sums) != 2 or len(whole) != 3 or size == block:
        return None
    (base,) = [t for t in sums if t != f"tl.arange(0, {block})"]
    holds = (
        _runs(base, size, block, kernel, made)
        or _counted(base, size, block, launch)
        or _steps_of_tile(base, size, block, made)
    )
    return (size, block) if holds else None


def _runs(base: str, size: str, block: str, kernel: Kernel, made: Mapping[str, cst.BaseExpression]) -> bool:
    """Return whether a loop variable runs over multiples of the block below the size, in every loop that has it."""
    loops = [loop for loop in kernel.loops if syntax.code(loop.target) == base]
    return bool(loops) and all(_multiples(loop.iter, size, block, made) for loop in loops)


def _multiples(ranged: cst.BaseExpression, size: str, block: str, made: Mapping[str, cst.BaseExpression]) -> bool:
    if not isinstance(ranged, cst.Call) or syntax.called(ranged) not in ("range", "tl.range", "tl.static_range"):
        return False
    plain = [a.value for a in ranged.args if a.keyword is None]
    if len(plain) != 3 or syntax.code(plain[2]) != block:
        return False
    start = made.get(syntax.code(plain[0]), plain[0])
    stop = made.get(syntax.code(plain[1]), plain[1])
    starts = syntax.code(start) == "0" or syntax.match(f"X_ * {block}", start) is not None
    return starts and (syntax.code(stop) == size or syntax.match(f"tl.minimum({size}, X_)", stop) is not None)


def _steps_of_tile(base: str, size: str, block: str, made: Mapping[str, cst.BaseExpression]) -> bool:
    """Return whether an offset is a step of a loop that is flat over tiles and steps, times the block."""
    steps = made.get("steps")
    flat = steps is not None and syntax.match(f"tl.maximum(tl.cdiv({size}, {block}), 1)", steps) is not None
    return flat and base == f"load_step * {block}"


def _counted(base: str, size: str, block: str, launch: Launch) -> bool:
    """Return whether an offset is `program * block`, with as many programs as the size has blocks."""
    elements = list(enumerate(launch.grid.elements if launch.grid else ()))
    elements += [(a, launch.arguments[f"programs_{a}"].value) for a in range(3) if f"programs_{a}" in launch.arguments]
    for axis, element in elements:
        ids = {f"tl.program_id({axis}) * {block}", f"tl.program_id(axis={axis}) * {block}", f"program_{axis} * {block}"}
        ids |= {f"{block} * tl.program_id({axis})", f"{block} * tl.program_id(axis={axis})"}
        ids.add(f"done_program_{axis} * {block}")
        division = syntax.match("triton.cdiv(SIZE_, BLOCK_)", element)
        passed, width = launch.arguments.get(size), launch.arguments.get(block)
        if base in ids and division and passed and width:
            same_block = syntax.same(division["BLOCK_"], width.value) or _meta(division["BLOCK_"], block, launch)
            if syntax.same(division["SIZE_"], passed.value) and same_block:
                return True
    return False


def _meta(node: cst.CSTNode, block: str, launch: Launch) -> bool:
    meta = launch.grid.meta if launch.grid else ""
    return bool(meta) and syntax.code(node).replace("'", '"') == f'{meta}["{block}"]'
