"""Number the programs of a grid in another order, so that programs that run together read memory that lies together."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from random import Random

import libcst as cst

from kopt.rewrite.source import syntax
from kopt.rewrite.source.module import Grid, Kernel, TritonModule
from kopt.rewrite.source.statements import program_axis
from kopt.rewrite.transformation import (
    Change,
    RewriteFacts,
    Site,
    Transformation,
    add_arguments,
    add_parameter,
    change,
    element_text,
    named_axes,
    weight,
)
from kopt.rewrite.transformations.tiles import blocks

LIKELY = 3.0
"""Weight of a grid whose second axis alone counts tiles: programs next to each other then read far apart."""


def _sites(module: TritonModule, facts: RewriteFacts) -> Sequence[Site]:
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
        "grid_order", "programs are numbered along the second axis of the grid first, as memory is laid out",
        (), ("l2_misses", "redundant_traffic", "too_few_bytes_in_flight", "narrow_loads"),
        _sites, 1.5, marks=("columns_of_programs",),
    ),
)  # fmt: skip
