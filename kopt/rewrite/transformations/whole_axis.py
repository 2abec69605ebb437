"""Make an axis that loops walk step by step a dimension of the tile, so that what several loops read is loaded once.

Loops `for f in range(F)` over an outer axis (channels of an image, features before positions) become a dimension of
the tile: values get shape (F, BLOCK), sums over the axis become reductions.  The tile stays in registers between what
was two passes over memory.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from random import Random

import libcst as cst

from kopt.rewrite.effects import wide_load_share
from kopt.rewrite.source import syntax
from kopt.rewrite.source.module import Constant, Kernel, Launch, TritonModule, unused
from kopt.rewrite.source.shapes import ELEMENTWISE, FILLS, analyse
from kopt.rewrite.source.statements import read_before_written
from kopt.rewrite.source.updates import initial, uses
from kopt.rewrite.transformation import (
    Change,
    RewriteFacts,
    Site,
    Transformation,
    add_arguments,
    add_parameter,
    change,
    define_before_grid,
    largest_argument,
)
from kopt.rewrite.transformations.rows import PLAIN
from kopt.rewrite.transformations.tiles import blocks, choices

LONGEST = 1024
"""Most elements of the axis that a tile may take."""
PER_THREAD = (32, 64, 64, 64)
"""Elements of the tile per thread to choose from."""
WARPS = (2, 4, 4, 4)
"""Warps of a program to choose from: a reduction over the axis joins the warps, so that many take longer."""
REDUCTIONS = (
    ("tl.maximum({acc}, X_)", "tl.max", "float('-inf')"),
    ("tl.maximum(X_, {acc})", "tl.max", "float('-inf')"),
    ("tl.minimum({acc}, X_)", "tl.min", "float('inf')"),
    ("tl.minimum(X_, {acc})", "tl.min", "float('inf')"),
    ("{acc} + X_", "tl.sum", "0.0"),
    ("X_ + {acc}", "tl.sum", "0.0"),
)
"""Patterns of an accumulation, the reduction that replaces it, and the value that changes nothing."""


@dataclass(frozen=True, eq=False)
class Accumulation:
    """A statement of a loop that accumulates over the axis."""

    name: str
    statement: cst.BaseSmallStatement
    value: cst.BaseExpression
    reduction: str
    identity: str


@dataclass(frozen=True, eq=False)
class Walked:
    """An axis that the loops of a kernel walk."""

    loops: tuple[cst.For, ...]
    size: str
    """The parameter that holds the axis' length."""
    block: Constant
    accumulations: tuple[Accumulation, ...]


def _sites(module: TritonModule, facts: RewriteFacts) -> Sequence[Site]:
    sites = []
    for kernel in module.kernels:
        launch = module.only_launch(kernel)
        if launch is None or launch.grid is None or kernel.autotuned or "AXIS" in kernel.names:
            continue
        walked = _walked(module, kernel)
        length = largest_argument(launch, walked.size, facts) if walked is not None else None
        if walked is not None and length is not None and length <= LONGEST:
            sites.append(Site(partial(_widen, module, kernel, launch, walked, length)))
    return sites


def _walked(module: TritonModule, kernel: Kernel) -> Walked | None:
    """Read the loops of a kernel as walks along one axis; None where they do more than that."""
    loops = tuple(s for s in kernel.body if isinstance(s, cst.For))
    sizes = {_size(loop) for loop in loops}
    block = [c for c in blocks(module) if c.kernel is kernel]
    if len(loops) != len(kernel.loops) or len(sizes) != 1 or len(block) != 1 or len({*map(_target, loops)}) != 1:
        return None
    size = sizes.pop()
    if size is None or kernel.parameter(size) is None or not _elementwise(kernel):
        return None
    found = [_accumulations(kernel, loop) for loop in loops]
    if any(f is None for f in found) or not all(_stores(kernel, loop) for loop in loops):
        return None
    accumulations = tuple(a for f in found for a in f or ())
    return Walked(loops, size, block[0], accumulations) if _closed(kernel, loops, accumulations) else None


def _target(loop: cst.For) -> str:
    return syntax.code(loop.target)


def _size(loop: cst.For) -> str | None:
    """Return the bound of `range(F)` or `range(0, F)`, as far as it is a name."""
    for function in ("range", "tl.range"):
        for pattern in (f"{function}(F_)", f"{function}(0, F_)"):
            found = syntax.match(pattern, loop.iter)
            if found is not None and isinstance(found["F_"], cst.Name) and isinstance(loop.target, cst.Name):
                return found["F_"].value
    return None


def _elementwise(kernel: Kernel) -> bool:
    """Return whether a kernel only computes with scalars and one-dimensional tiles of known shape, without branches."""
    odd = (cst.While, cst.Return, cst.Subscript, cst.Lambda, cst.IfExp, cst.If)
    values = [v for n, v in analyse(kernel).items() if not isinstance(n, (cst.Tuple, cst.List, cst.Attribute))]
    return (
        not any(isinstance(n, odd) for n in kernel.nodes)
        and all(_known(call) for call in kernel.calls)
        and all(v.shape is not None and len(v.shape) <= 1 for v in values)
    )


def _known(call: cst.Call) -> bool:
    name = syntax.called(call)
    if isinstance(call.func, cst.Attribute) and call.func.attr.value == "to":
        return True
    return not syntax.starred(call) and (
        name in PLAIN or name in FILLS or name in ELEMENTWISE or name.startswith("tl.math.")
    )


def _accumulations(kernel: Kernel, loop: cst.For) -> list[Accumulation] | None:
    """Find what a loop accumulates; None where it carries something else from step to step."""
    found = []
    for line in loop.body.body:
        if not isinstance(line, cst.SimpleStatementLine) or len(line.body) != 1:
            return None
        small = line.body[0]
        accumulation = _accumulation(kernel, loop, small)
        if accumulation is not None:
            found.append(accumulation)
        elif isinstance(small, cst.AugAssign):
            return None
    carried = {a.name for a in found}
    read = [p for n in syntax.walk(loop.body) if isinstance(n, cst.Assign) and (p := syntax.assigned(n))]
    seen = set[str]()
    for name, value in read:
        if (syntax.names(value) & {n for n, _ in read}) - seen - carried:
            return None
        seen.add(name)
    return found if all(uses(loop.body, name) <= 2 for name in carried) else None


def _accumulation(kernel: Kernel, loop: cst.For, small: cst.BaseSmallStatement) -> Accumulation | None:
    value: cst.BaseExpression
    if isinstance(small, cst.AugAssign) and isinstance(small.target, cst.Name):
        if not isinstance(small.operator, cst.AddAssign):
            return None
        name, value = small.target.value, cst.BinaryOperation(small.target, cst.Add(), small.value)
    else:
        pair = syntax.assigned(small)
        if pair is None or pair[0] not in syntax.names(pair[1]):
            return None
        name, value = pair
    if initial(kernel, name, loop) is None:
        return None
    for pattern, reduction, identity in REDUCTIONS:
        found = syntax.match(pattern.format(acc=name), value)
        term = found["X_"] if found is not None else None
        if isinstance(term, cst.BaseExpression) and name not in syntax.names(term):
            return Accumulation(name, small, term, reduction, identity) if _varies(kernel, term, loop) else None
    return None


def _varies(kernel: Kernel, node: cst.CSTNode, loop: cst.For) -> bool:
    value = analyse(kernel).get(node)
    return value is not None and bool(value.shape) and f"loop:{_target(loop)}" in value.deps


def _stores(kernel: Kernel, loop: cst.For) -> bool:
    """Return whether every store of a loop writes to another place in each step."""
    stores = [n for n in syntax.walk(loop.body) if isinstance(n, cst.Call) and syntax.called(n) == "tl.store"]
    return all(_varies(kernel, call.args[0].value, loop) for call in stores)


def _closed(kernel: Kernel, loops: Sequence[cst.For], accumulations: Sequence[Accumulation]) -> bool:
    """Return whether the loops hand on nothing but what they accumulate."""
    for loop in loops:
        stored = {p[0] for n in syntax.walk(loop.body) if isinstance(n, cst.Assign) and (p := syntax.assigned(n))}
        stored = (stored | {_target(loop)}) - {a.name for a in accumulations}
        others = [s for s in kernel.body if s is not loop]
        if any(stored & read_before_written(s) for s in others):
            return False
    return True


def _widen(
    module: TritonModule, kernel: Kernel, launch: Launch, walked: Walked, length: int, rng: Random
) -> Change | None:
    edits = module.edits()
    axis = _target(walked.loops[0])
    inside = f"({axis} < {walked.size})"
    for loop in walked.loops:
        texts: dict[cst.CSTNode, str] = {}
        for call in (n for n in syntax.walk(loop.body) if isinstance(n, cst.Call)):
            texts |= _masked(kernel, call, loop, inside)
        for made in (a for a in walked.accumulations if any(a.statement is n for n in syntax.walk(loop.body))):
            term = f"{made.reduction}(tl.where({inside}, {syntax.code(made.value)}, {made.identity}), axis=0)"
            joined = {"tl.sum": "{} + {}", "tl.max": "tl.maximum({}, {})", "tl.min": "tl.minimum({}, {})"}
            texts[made.statement] = f"{made.name} = {joined[made.reduction].format(made.name, term)}"
        edits.replace_statement(loop, "\n".join(edits.moved([s], texts) for s in loop.body.body))
    edits.statements_before(walked.loops[0], f"{axis} = tl.arange(0, AXIS)[:, None]")
    add_parameter(edits, kernel, "AXIS", constexpr=True, default="1")
    passed = launch.arguments[walked.size].value
    name = unused("AXIS", syntax.names(launch.function))
    define_before_grid(edits, launch, f"{name} = triton.next_power_of_2({syntax.code(passed)})")
    add_arguments(edits, launch, ("AXIS", name))
    block, warps = _block(walked.block, length, launch, rng)
    edits.replace(walked.block.literal, str(block))
    if warps and "num_warps" in launch.options:
        edits.replace(launch.options["num_warps"].value, str(warps))
    return change(
        edits,
        f"{walked.size} is a dimension of the tile in {kernel.name}, {length} x {block}: what {len(walked.loops)} "
        "loops read is loaded once and kept in registers",
    )


def _masked(kernel: Kernel, call: cst.Call, loop: cst.For, inside: str) -> dict[cst.CSTNode, str]:
    """Write the mask of a load or store that varies with the axis."""
    place = {"tl.load": 1, "tl.store": 2}.get(syntax.called(call))
    if place is None or not _varies(kernel, call.args[0].value, loop):
        return {}
    mask = syntax.argument(call, place, "mask")
    if mask is None:
        return {call.args[-1]: f"{syntax.code(call.args[-1]).rstrip(', ')}, mask={inside}"}
    return {mask.value: f"{syntax.operand(mask.value)} & {inside}"}


def _block(block: Constant, length: int, launch: Launch, rng: Random) -> tuple[int, int | None]:
    """Choose the tile's other dimension with the warps, by the elements that a thread holds.

    Returns:
        the dimension and the warps; None where the launch does not pass a number of warps that can be changed.
    """
    passed = launch.options.get("num_warps")
    now = syntax.integer(passed.value) if passed is not None else 4
    warps = rng.choice(WARPS) if passed is not None and now is not None else None
    wanted = rng.choice(PER_THREAD) * 32 * (warps or now or 4) // (1 << (length - 1).bit_length())
    allowed = [*choices(block), block.value]
    return min(allowed, key=lambda value: abs(value - wanted)), warps


TRANSFORMATIONS = (
    Transformation(
        "whole_axis", "an axis that loops walk step by step becomes a dimension of the tile, so that it is read once",
        ("register_tiling", "vectorized_load"),
        ("redundant_traffic", "narrow_loads", "too_few_bytes_in_flight", "shallow_pipeline"),
        _sites, 9.0, marks=("AXIS",), effect=wide_load_share,
    ),
)  # fmt: skip
