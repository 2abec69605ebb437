"""Transformations of the grid: a fixed number of programs that loop over the work, and another order of tiles."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random

import libcst as cst

from kopt.rewrite.source import syntax
from kopt.rewrite.source.module import Kernel, Launch, TritonModule, unused
from kopt.rewrite.transformation import (
    Change,
    RewriteFacts,
    Site,
    Transformation,
    add_arguments,
    change,
    define_before_grid,
    element_text,
)

GROUPS = (4, 8, 16)
PROGRAMS = "programs"


def _axes(call: cst.Call) -> int | None:
    passed = syntax.argument(call, 0, "axis")
    return syntax.integer(passed.value) if passed else 0


def _persistent_sites(module: TritonModule, facts: RewriteFacts) -> Sequence[Site]:
    found = []
    for kernel in module.kernels:
        launch = module.only_launch(kernel)
        if launch is None or launch.grid is None or not launch.call.args or not _wrappable(kernel):
            continue
        axes = [element_text(launch.grid, axis, launch) for axis in range(len(launch.grid.elements))]
        if all(axes) and not kernel.autotuned:
            counts = tuple(facts.device.sm_count * n for n in (1, 2, 4, 8))
            found.append(Site(kernel, launch, choices=(tuple(axes), counts), weight=1.0 if kernel.loops else 0.4))
    return found


def _wrappable(kernel: Kernel) -> bool:
    ids = kernel.called("tl.program_id", "tl.num_programs")
    text = syntax.code(kernel.node.body)
    return (
        bool(kernel.called("tl.program_id"))
        and all(_axes(call) is not None for call in ids)
        and not any(isinstance(n, cst.Return) for n in kernel.nodes)
        and not {"tile", "programs_0", "program_0"} & kernel.names
        and '"""' not in text and "'''" not in text
        and not any(p.default is not None for p in kernel.parameters)
    )  # fmt: skip


def _persist(module: TritonModule, site: Site, rng: Random) -> Change | None:
    axes, counts = site.choices
    kernel, launch = site.kernel, site.launch
    assert launch is not None
    assert launch.grid is not None
    count = rng.choice(counts)
    edits = module.edits()
    extents = [f"programs_{axis}" for axis in range(len(axes))]
    for call in kernel.called("tl.program_id", "tl.num_programs"):
        axis = _axes(call)
        assert axis is not None
        if axis >= len(axes):
            return None
        edits.replace(call, (f"program_{axis}" if "program_id" in syntax.called(call) else extents[axis]))
    head = f"for tile in tl.range(tl.program_id(0), {' * '.join(extents)}, tl.num_programs(0)):\n"
    edits.statements_before(kernel.body[0], head + _unravel(len(axes)))
    edits.indent(kernel.body)
    edits.after(kernel.parameters[-1].last, "".join(f", {e}" for e in extents))
    programs = unused("PROGRAMS", syntax.names(launch.function))
    define_before_grid(edits, launch, f"{programs} = {count}")
    total = " * ".join(f"({a})" for a in axes)
    edits.replace(launch.grid.display, f"(min({programs}, {total}),)")
    add_arguments(edits, launch, *zip(extents, axes, strict=True))
    return change(edits, f"persistent grid: at most {count} programs of {kernel.name} loop over the tiles")


def _unravel(rank: int) -> str:
    """Program ids of a tile number, the first axis fastest as the hardware launches them."""
    if rank == 1:
        return "    program_0 = tile"
    lines = ["    program_0 = tile % programs_0"]
    if rank == 2:
        return "\n".join([*lines, "    program_1 = tile // programs_0"])
    lines.append("    program_1 = (tile // programs_0) % programs_1")
    return "\n".join([*lines, "    program_2 = tile // (programs_0 * programs_1)"])


def _count_sites(module: TritonModule, facts: RewriteFacts) -> Sequence[Site]:
    """Persistent grids `(min(PROGRAMS, ...),)` whose number of programs is a literal."""
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
                counts = tuple(facts.device.sm_count * n for n in (1, 2, 3, 4, 8))
                found.append(Site(kernel, launch, node=literal, choices=counts))
    return found


def _recount(module: TritonModule, site: Site, rng: Random) -> Change | None:
    now = syntax.integer(site.node)
    count = rng.choice([c for c in site.choices if c != now])
    edits = module.edits()
    assert site.node is not None
    edits.replace(site.node, str(count))
    return change(edits, f"persistent grid of {site.kernel.name}: {now} -> {count} programs")


def _swizzle_sites(module: TritonModule, facts: RewriteFacts) -> Sequence[Site]:
    found = []
    for kernel in module.kernels:
        launch = module.only_launch(kernel)
        if launch is None or launch.grid is None or "GROUP" in kernel.names or not launch.call.args:
            continue
        ids = _ids(kernel, launch)
        if ids is not None and _both_tile(launch):
            found.append(Site(kernel, launch, choices=(ids, GROUPS)))
    return found


def _both_tile(launch: Launch) -> bool:
    """Two axes, both of them tiles of a size."""
    elements = launch.grid.elements if launch.grid else ()
    text = " ".join(syntax.code(e) for e in elements)
    return text.count("cdiv(") == 2


def _ids(kernel: Kernel, launch: Launch) -> tuple[cst.CSTNode, cst.CSTNode, str, str] | None:
    """The nodes that stand for the two program ids, with the texts of their extents."""
    assert launch.grid is not None
    calls = kernel.called("tl.program_id")
    by_axis = {axis: [c for c in calls if _axes(c) == axis] for axis in (0, 1)}
    if len(launch.grid.elements) == 2 and len(calls) == 2 and all(len(c) == 1 for c in by_axis.values()):
        if kernel.called("tl.num_programs"):
            return None
        return by_axis[0][0], by_axis[1][0], "tl.num_programs(0)", "tl.num_programs(1)"
    made = {p[0]: p[1] for n in kernel.nodes if isinstance(n, cst.Assign) and (p := syntax.assigned(n))}
    if {"program_0", "program_1"} <= made.keys() and "program_2" not in made and "programs_1" in kernel.names:
        return made["program_0"], made["program_1"], "programs_0", "programs_1"
    return None


def _swizzle(module: TritonModule, site: Site, rng: Random) -> Change | None:
    (first, second, rows, columns), groups = site.choices
    kernel, launch = site.kernel, site.launch
    assert launch is not None
    group = rng.choice(groups)
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
    """The first statement that holds one of the ids."""
    for node in kernel.nodes:
        if isinstance(node, cst.SimpleStatementLine) and any(n is first or n is second for n in syntax.walk(node)):
            return node
    return kernel.body[0]


def _group_sites(module: TritonModule, facts: RewriteFacts) -> Sequence[Site]:
    return [
        Site(c.kernel, c.launch, choices=(c, tuple(g for g in (2, *GROUPS) if g != c.value)))
        for c in module.constants
        if c.name in ("GROUP", "GROUP_M", "GROUP_SIZE_M", "GROUP_SIZE") and c.kernel.called("tl.program_id")
    ]


def _regroup(module: TritonModule, site: Site, rng: Random) -> Change | None:
    constant, groups = site.choices
    value = rng.choice(groups)
    edits = module.edits()
    edits.replace(constant.literal, str(value))
    return change(edits, f"{constant.name} {constant.value} -> {value} in {site.kernel.name}: another order of tiles")


KINDS = (
    Transformation(
        "persistent_grid", "as many programs as the device runs at once, each of which loops over tiles",
        ("persistent_kernel",), ("tail_wave",),
        _persistent_sites, _persist, 1.0,
    ),
    Transformation(
        "persistent_count", "another number of persistent programs", ("persistent_kernel",),
        ("tail_wave", "low_occupancy"), _count_sites, _recount, 0.6,
    ),
    Transformation(
        "grid_swizzle", "tiles of a 2-D grid in groups of rows, so that neighbours share operands in L2",
        ("grid_swizzling",), ("l2_misses",), _swizzle_sites, _swizzle, 1.5,
    ),
    Transformation(
        "group_size", "another group height of a swizzled grid", ("grid_swizzling",),
        ("l2_misses",), _group_sites, _regroup, 0.6,
    ),
)  # fmt: skip
