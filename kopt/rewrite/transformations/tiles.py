"""Transform tile sizes: the compile-time block sizes that a launch passes as literals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache, partial
from random import Random

import libcst as cst

from kopt.rewrite.source import syntax
from kopt.rewrite.source.module import Constant, Grid, Kernel, TritonModule
from kopt.rewrite.source.shapes import Abstract, analyse
from kopt.rewrite.transformation import Change, RewriteFacts, Site, Transformation, change, weight

SMALLEST_DOT = 16
"""Elements that each dimension of a matrix product has at least."""
OF_PRODUCT = 0.25
"""Factor on the weight of a dimension of a matrix product."""


@lru_cache(maxsize=64)
def blocks(module: TritonModule) -> Sequence[Constant]:
    """Find the constants that set a tile's size and may take another power of two without changing the result."""
    return [c for c in module.constants if _is_block(c) and not _written_twice(c) and not _shared(c, module)]


def _is_block(constant: Constant) -> bool:
    kernel, name = constant.kernel, constant.name
    if constant.value < 1 or constant.value & (constant.value - 1):
        return False
    ranged = any(_extent(call) == name for call in kernel.called("tl.arange"))
    per_program = _tiles_programs(kernel, name)
    strides = _tiles_a_loop(kernel, name)
    if per_program and not (constant.launch.grid and _counts(constant.launch.grid, constant)):
        return False
    return ranged and (per_program or strides)


def _extent(call: cst.Call) -> str:
    return syntax.code(call.args[-1].value) if call.args else ""


def _tiles_programs(kernel: Kernel, name: str) -> bool:
    """Return whether a constant multiplies something that varies with the program, other than in a loop's bounds."""
    abstract_of = analyse(kernel)
    bounds = frozenset().union(*(syntax.names(loop.iter) for loop in kernel.loops))
    for line in (n for n in kernel.nodes if isinstance(n, cst.BaseSmallStatement)):
        pair = syntax.assigned(line)
        if pair is not None and pair[0] in bounds and not abstract_of.get(pair[1], Abstract()).shape:
            continue
        if any(_multiplies(node, name, abstract_of) for node in syntax.walk(line)):
            return True
    return False


def _multiplies(node: cst.CSTNode, name: str, abstract_of: Mapping[cst.CSTNode, Abstract]) -> bool:
    if not isinstance(node, cst.BinaryOperation) or not isinstance(node.operator, cst.Multiply):
        return False
    sides = ((node.left, node.right), (node.right, node.left))
    lengths = (name, f"({name} + {name} // 2)")
    return any(
        syntax.code(left) in lengths and right in abstract_of and abstract_of[right].programs for left, right in sides
    )


def _tiles_a_loop(kernel: Kernel, name: str) -> bool:
    if any(syntax.match(f"tl.maximum(tl.cdiv(N_, {name}), 1)", call) for call in kernel.called("tl.maximum")):
        return True
    for loop in kernel.loops:
        if isinstance(loop.iter, cst.Call) and syntax.called(loop.iter) in ("range", "tl.range", "tl.static_range"):
            plain = [a.value for a in loop.iter.args if a.keyword is None]
            if len(plain) == 3 and syntax.code(plain[2]) == name:
                return True
            if any(syntax.match(f"{f}(N_, {name})", p) for p in plain for f in ("tl.cdiv", "triton.cdiv")):
                return True
    return False


def _counts(grid: Grid, constant: Constant) -> bool:
    """Return whether the grid divides by a constant, under the name that carries it."""
    wanted = {constant.variable} if constant.variable else set()
    texts = {f'{grid.meta}["{constant.name}"]', f"{grid.meta}['{constant.name}']"} if grid.meta else set()
    for element in grid.elements:
        for node in syntax.walk(element):
            if syntax.code(node) in texts or (isinstance(node, cst.Name) and node.value in wanted):
                return True
    return False


def _written_twice(constant: Constant) -> bool:
    """Return whether a literal is passed bare and stands elsewhere in the function too: both may belong together."""
    if constant.variable:
        return False
    plain = [a.value for a in constant.launch.call.args if isinstance(a.value, cst.Integer)]
    passed = {id(n) for n in plain}
    return any(
        isinstance(node, cst.Integer) and id(node) not in passed and node.evaluated_value == constant.value
        for node in syntax.walk(constant.launch.function)
        if constant.value > 4
    )


def _shared(constant: Constant, module: TritonModule) -> bool:
    """Return whether the same literal feeds another parameter too.

    The same parameter of another kernel does not count where it sets the size of masked tiles there as well, as in a
    kernel with descriptors and the one that stands in for it.
    """
    others = [c for c in module.constants if c is not constant and c.literal is constant.literal]
    return any(c.name != constant.name or not _is_block(c) or unmasked(c.kernel, c.name) for c in others)


PARTS = "tile_parts_ptr"
"""Parameter for a buffer of whole tiles, which grows with the tile (`stream_k`)."""


def unmasked(kernel: Kernel, name: str) -> bool:
    """Return whether a load or store of a tile with this dimension has no mask: a larger tile may leave the tensor."""
    abstract_of = analyse(kernel)
    for call in kernel.called("tl.load", "tl.store"):
        pointer = syntax.argument(call, 0, "pointer")
        shape = abstract_of[pointer.value].shape if pointer and pointer.value in abstract_of else None
        mask = syntax.argument(call, 1 if syntax.called(call) == "tl.load" else 2, "mask")
        grows = pointer is not None and pointer.value in abstract_of and PARTS in abstract_of[pointer.value].deps
        if (shape is None or name in shape) and mask is None and not grows:
            return True
    return False


def choices(constant: Constant, low: int = 1) -> tuple[int, ...]:
    """List the other powers of two that a tile's size may take, within a factor of eight and from `low` on."""
    dimensions = dot_dimensions(constant.kernel)
    if constant.name in dimensions:
        low = max(low, 2 * SMALLEST_DOT if f"({constant.name} // 2)" in dimensions else SMALLEST_DOT)
    high = constant.value if unmasked(constant.kernel, constant.name) else constant.value * 8
    powers = [1 << n for n in range(17)]
    return tuple(p for p in powers if p != constant.value and max(low, constant.value // 8) <= p <= high)


def dot_dimensions(kernel: Kernel) -> frozenset[str]:
    """Name the constants of the dimensions of a kernel's matrix products."""
    abstract_of = analyse(kernel)
    shapes = [
        abstract_of[a.value].shape for call in kernel.called("tl.dot") for a in call.args[:2] if a.value in abstract_of
    ]
    return frozenset(wide_name(d) for shape in shapes for d in shape or ())


def wide_name(dimension: str) -> str:
    """Name the constant of a dimension, which may be twice the constant."""
    return dimension.removeprefix("2 * ")


def _size_sites(module: TritonModule, facts: RewriteFacts) -> Sequence[Site]:
    return [
        Site(partial(_resize, module, c, [n for n in choices(c) if n >= least(c)]), _worth(c))
        for c in blocks(module)
        if choices(c)
    ]


def _worth(constant: Constant) -> float:
    """Weigh a block size: of a product's tile one side alone seldom pays, as its sides suit each other."""
    return weight(constant.kernel) * (OF_PRODUCT if constant.name in dot_dimensions(constant.kernel) else 1.0)


def least(constant: Constant) -> int:
    """Return the smallest size that a tile should have along a dimension, elements."""
    return 32 if constant.value >= 64 and constant.name not in dot_dimensions(constant.kernel) else 1


def _resize(module: TritonModule, constant: Constant, values: Sequence[int], rng: Random) -> Change | None:
    near = [v for v in values if constant.value // 2 <= v <= constant.value * 4]
    value = rng.choice(near if near and rng.random() < 0.7 else values) if values else None
    if value is None:
        return None
    edits = module.edits()
    edits.replace(constant.literal, str(value))
    larger = value > constant.value
    why = "more work per step and program" if larger else "smaller tiles, more programs in flight"
    return change(edits, f"{constant.name} {constant.value} -> {value} in {constant.kernel.name}: {why}")


TRANSFORMATIONS = (
    Transformation(
        "tile_size", "another power of two for one block size",
        ("register_tiling", "shared_memory_tiling", "vectorized_load"),
        ("spills", "small_tiles", "narrow_loads", "too_few_bytes_in_flight", "low_occupancy", "register_pressure",
         "tail_wave", "untuned_configuration"),
        _size_sites, 2.5, lightens=True,
    ),
)  # fmt: skip
