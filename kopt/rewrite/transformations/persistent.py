"""Transform the grid: a fixed number of programs that loop over the work, and another order of tiles."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from random import Random

import libcst as cst

from kopt.rewrite.host_values import count_tiles
from kopt.rewrite.source import syntax
from kopt.rewrite.source.module import Constant, Grid, Kernel, Launch, TritonModule, unused
from kopt.rewrite.source.statements import program_axis, tile_ids
from kopt.rewrite.transformation import (
    Change,
    RewriteFacts,
    Site,
    Transformation,
    add_arguments,
    add_parameter,
    change,
    define_before_grid,
    element_text,
    named_axes,
    weight,
)
from kopt.rewrite.transformations.tiles import blocks

GROUPS = (4, 8, 16)
"""Rows of tiles in a group of a swizzled grid."""
PER_MULTIPROCESSOR = (1, 2, 3, 4, 8)
"""Programs of a persistent grid for each multiprocessor."""
LIKELY = 3.0
"""Weight of a grid whose second axis alone counts tiles: programs next to each other then read far apart."""


def _persistent_sites(module: TritonModule, facts: RewriteFacts) -> Sequence[Site]:
    """Find kernels with more programs than the device has multiprocessors, which can be fewer."""
    sites = []
    for kernel in module.kernels:
        launch = module.only_launch(kernel)
        if launch is None or launch.grid is None or not launch.call.args or not _wrappable(kernel):
            continue
        texts = [element_text(launch.grid, axis, launch) for axis in range(len(launch.grid.elements))]
        programs = count_tiles(launch, module, facts)
        if all(texts) and not kernel.autotuned and (programs is None or programs > facts.device.sm_count):
            counts = [facts.device.sm_count * n for n in (1, 2, 4, 8)]
            apply = partial(_persist, module, kernel, launch, launch.grid, counts)
            sites.append(Site(apply, 0.4 if kernel.called("tl.dot") or not kernel.loops else 1.0))
    return sites


def _wrappable(kernel: Kernel) -> bool:
    """Return whether a kernel's whole body can stand inside a loop over tiles."""
    ids = kernel.called("tl.program_id", "tl.num_programs")
    text = syntax.code(kernel.node.body)
    return (
        bool(kernel.called("tl.program_id"))
        and all(program_axis(call) is not None for call in ids)
        and not any(isinstance(n, cst.Return) for n in kernel.nodes)
        and not {"tile", "programs_0", "program_0"} & kernel.names
        and '"""' not in text and "'''" not in text
        and not any(p.default is not None for p in kernel.parameters)
    )  # fmt: skip


def _persist(
    module: TritonModule,
    kernel: Kernel,
    launch: Launch,
    grid: Grid,
    counts: Sequence[int],
    rng: Random,
) -> Change | None:
    count = rng.choice(counts)
    edits = module.edits()
    axes = named_axes(edits, launch, grid)
    extents = [f"programs_{axis}" for axis in range(len(axes))]
    for call in kernel.called("tl.program_id", "tl.num_programs"):
        axis = program_axis(call)
        assert axis is not None
        if axis >= len(axes):
            return None
        edits.replace(call, (f"program_{axis}" if "program_id" in syntax.called(call) else extents[axis]))
    head = f"for tile in tl.range(tl.program_id(0), {' * '.join(extents)}, tl.num_programs(0)):\n"
    ids = "\n".join(f"    {line}" for line in tile_ids("tile", "program", len(axes)))
    edits.statements_before(kernel.body[0], head + ids)
    edits.indent(kernel.body)
    edits.after(kernel.parameters[-1].last, "".join(f", {e}" for e in extents))
    programs = unused("PROGRAMS", syntax.names(launch.function))
    define_before_grid(edits, launch, f"{programs} = {count}")
    total = " * ".join(f"({a})" for a in axes)
    edits.replace(grid.display, f"(min({programs}, {total}),)")
    add_arguments(edits, launch, *zip(extents, axes, strict=True))
    return change(edits, f"persistent grid: at most {count} programs of {kernel.name} loop over the tiles")


def program_counts(module: TritonModule) -> list[tuple[Kernel, cst.Integer]]:
    """Find the literals of persistent grids `(min(PROGRAMS, ...),)` that say how many programs there are at most."""
    found = []
    for kernel in module.kernels:
        launch = module.only_launch(kernel)
        if launch is None or launch.grid is None or not kernel.called("tl.num_programs"):
            continue
        for element in launch.grid.elements:
            shape = syntax.match("min(COUNT_, TOTAL_)", element)
            literal = module.resolve(shape["COUNT_"], launch.function) if shape and isinstance(
                shape["COUNT_"], cst.BaseExpression) else None  # fmt: skip
            if isinstance(literal, cst.Integer):
                found.append((kernel, literal))
    return found


def _count_sites(module: TritonModule, facts: RewriteFacts) -> Sequence[Site]:
    counts = [facts.device.sm_count * n for n in PER_MULTIPROCESSOR]
    return [Site(partial(_recount, module, kernel, literal, counts)) for kernel, literal in program_counts(module)]


def _recount(
    module: TritonModule, kernel: Kernel, literal: cst.Integer, counts: Sequence[int], rng: Random
) -> Change | None:
    now = syntax.integer(literal)
    count = rng.choice([c for c in counts if c != now])
    edits = module.edits()
    edits.replace(literal, str(count))
    return change(edits, f"persistent grid of {kernel.name}: {now} -> {count} programs")


def _swizzle_sites(module: TritonModule, facts: RewriteFacts) -> Sequence[Site]:
    sites = []
    for kernel in module.kernels:
        launch = module.only_launch(kernel)
        if launch is None or launch.grid is None or "GROUP" in kernel.names or not launch.call.args:
            continue
        ids = _ids(kernel, launch.grid)
        if ids is not None and _both_tile(launch.grid):
            sites.append(Site(partial(_swizzle, module, kernel, launch, ids)))
    return sites


def _both_tile(grid: Grid) -> bool:
    """Return whether two axes of the grid count the tiles of a size."""
    text = " ".join(syntax.code(e) for e in grid.elements)
    return text.count("cdiv(") == 2


ProgramIds = tuple[cst.CSTNode, cst.CSTNode, str, str]
"""The nodes that stand for the two program ids of a 2-D grid, and the texts of the axes' extents."""


def _ids(kernel: Kernel, grid: Grid) -> ProgramIds | None:
    """Find the two program ids of a 2-D grid, those of a persistent loop included."""
    calls = kernel.called("tl.program_id")
    by_axis = {axis: [c for c in calls if program_axis(c) == axis] for axis in (0, 1)}
    if len(grid.elements) == 2 and len(calls) == 2 and all(len(c) == 1 for c in by_axis.values()):
        if kernel.called("tl.num_programs"):
            return None
        return by_axis[0][0], by_axis[1][0], "tl.num_programs(0)", "tl.num_programs(1)"
    made = {p[0]: p[1] for n in kernel.nodes if isinstance(n, cst.Assign) and (p := syntax.assigned(n))}
    if "load_tile" in kernel.names:
        return None
    if {"program_0", "program_1"} <= made.keys() and "program_2" not in made and "programs_1" in kernel.names:
        return made["program_0"], made["program_1"], "programs_0", "programs_1"
    return None


def _swizzle(module: TritonModule, kernel: Kernel, launch: Launch, ids: ProgramIds, rng: Random) -> Change | None:
    first, second, rows, columns = ids
    group = rng.choice(GROUPS)
    edits = module.edits()
    linear = "tile" if rows == "programs_0" else "tl.program_id(1) * tl.num_programs(0) + tl.program_id(0)"
    lines = (
        f"number = {linear}\n"
        f"group_start = number // (GROUP * {columns}) * GROUP\n"
        f"group_rows = tl.minimum({rows} - group_start, GROUP)\n"
        f"number_in_group = number % (GROUP * {columns})"
    )
    edits.statements_before(_statement(kernel, first, second), lines)
    edits.replace(first, "(group_start + number_in_group % group_rows)")
    edits.replace(second, "(number_in_group // group_rows)")
    default = " = 1" if any(p.default is not None for p in kernel.parameters) else ""
    edits.after(kernel.parameters[-1].last, f", GROUP: tl.constexpr{default}")
    add_arguments(edits, launch, ("GROUP", str(group)))
    return change(edits, f"tiles of {kernel.name} in groups of {group} rows: neighbours share operands in L2")


def _statement(kernel: Kernel, first: cst.CSTNode, second: cst.CSTNode) -> cst.CSTNode:
    """Find the first statement that holds one of the ids."""
    for node in kernel.nodes:
        if isinstance(node, cst.SimpleStatementLine) and any(n is first or n is second for n in syntax.walk(node)):
            return node
    return kernel.body[0]


def group_heights(module: TritonModule) -> list[Constant]:
    """Find the constants that set the height of groups of tiles."""
    return [
        c
        for c in module.constants
        if c.name in ("GROUP", "GROUP_M", "GROUP_SIZE_M", "GROUP_SIZE") and c.kernel.called("tl.program_id")
    ]


def _group_sites(module: TritonModule, facts: RewriteFacts) -> Sequence[Site]:
    return [Site(partial(_regroup, module, constant)) for constant in group_heights(module)]


def _regroup(module: TritonModule, constant: Constant, rng: Random) -> Change | None:
    value = rng.choice([group for group in (2, *GROUPS) if group != constant.value])
    edits = module.edits()
    edits.replace(constant.literal, str(value))
    return change(
        edits, f"{constant.name} {constant.value} -> {value} in {constant.kernel.name}: another order of tiles"
    )


def _order_sites(module: TritonModule, facts: RewriteFacts) -> Sequence[Site]:
    """Find two-dimensional grids whose kernel asks for each program id once."""
    sites = []
    for kernel in module.kernels:
        launch = module.only_launch(kernel)
        if launch is None or launch.grid is None or len(launch.grid.elements) != 2 or not launch.call.args:
            continue
        ids = {axis: call for call in kernel.called("tl.program_id") if (axis := program_axis(call)) is not None}
        if len(ids) != len(kernel.called("tl.program_id")) or set(ids) != {0, 1} or kernel.called("tl.num_programs"):
            continue
        if (
            element_text(launch.grid, 1, launch) is not None
            and not kernel.autotuned
            and "columns_of_programs" not in kernel.names
        ):
            tiled = [
                any(_tiles(kernel, ids[axis], c.name) for c in blocks(module) if c.kernel is kernel) for axis in (0, 1)
            ]
            urgent = LIKELY if tiled == [False, True] else weight(kernel)
            sites.append(Site(partial(_turn, module, kernel, launch.grid, ids), urgent))
    return sites


def _tiles(kernel: Kernel, program: cst.Call, block: str) -> bool:
    """Return whether a program id is multiplied by a block size."""
    products = [n for n in kernel.nodes if isinstance(n, cst.BinaryOperation) and isinstance(n.operator, cst.Multiply)]
    return any(
        block in (syntax.code(n.left), syntax.code(n.right)) and any(program is m for m in syntax.walk(n))
        for n in products
    )


def _turn(module: TritonModule, kernel: Kernel, grid: Grid, ids: dict[int, cst.Call], rng: Random) -> Change | None:
    launch = module.only_launch(kernel)
    assert launch is not None
    edits = module.edits()
    second = named_axes(edits, launch, grid)[1]
    edits.replace(ids[0], "(tl.program_id(0) // columns_of_programs)")
    edits.replace(ids[1], "(tl.program_id(0) % columns_of_programs)")
    add_parameter(edits, kernel, "columns_of_programs")
    first, last = (syntax.operand(e) for e in grid.elements)
    edits.replace(grid.display, f"({first} * {last},)")
    add_arguments(edits, launch, ("columns_of_programs", second))
    return change(
        edits, f"programs of {kernel.name} in the order of the second axis: neighbours read neighbouring memory"
    )


TRANSFORMATIONS = (
    Transformation(
        "persistent_grid", "as many programs as the device runs at once, each of which loops over tiles",
        ("persistent_kernel",), ("tail_wave",),
        _persistent_sites, 1.0, marks=("tl.num_programs",),
    ),
    Transformation(
        "persistent_count", "another number of persistent programs", ("persistent_kernel",),
        ("tail_wave", "low_occupancy"), _count_sites, 0.6,
    ),
    Transformation(
        "grid_swizzle", "tiles of a 2-D grid in groups of rows, so that neighbours share operands in L2",
        ("grid_swizzling",), ("l2_misses",), _swizzle_sites, 1.5, marks=("group_start",),
    ),
    Transformation(
        "group_size", "another group height of a swizzled grid", ("grid_swizzling",),
        ("l2_misses",), _group_sites, 0.6,
    ),
    Transformation(
        "grid_order", "programs are numbered along the second axis of the grid first, as memory is laid out",
        (), ("l2_misses", "redundant_traffic", "too_few_bytes_in_flight", "narrow_loads"),
        _order_sites, 1.5, marks=("columns_of_programs",),
    ),
)  # fmt: skip
