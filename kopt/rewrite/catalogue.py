"""List all transformations: every module of `kopt.rewrite.transformations` with its tuple `TRANSFORMATIONS`."""

from __future__ import annotations

from collections.abc import Mapping

from kopt.rewrite.transformation import Transformation
from kopt.rewrite.transformations import (
    accumulate,
    algebra,
    autotune,
    by_size,
    design_by_size,
    launching,
    loops,
    masks,
    memory_hints,
    persistent,
    pipelined_rows,
    product_tiles,
    recipes,
    rows,
    specialise_sizes,
    split_k,
    tile_and_warps,
    tiles,
    whole_axis,
    windows,
)
from kopt.rewrite.transformations.order import staggered_loop
from kopt.rewrite.transformations.passes import fused_launches, kept_values, one_pass_variance, online
from kopt.rewrite.transformations.products import (
    descriptors,
    flat_tiles,
    output_halves,
    stream_k,
    transposed,
    uneven_tile,
    wide_product,
)

MODULES = (
    tiles, product_tiles, launching, loops, accumulate, rows, split_k, specialise_sizes, masks, persistent,
    memory_hints, autotune, windows, whole_axis, wide_product, flat_tiles, pipelined_rows, by_size,
    tile_and_warps, algebra, output_halves, descriptors, design_by_size, uneven_tile,
    recipes, staggered_loop, transposed, kept_values, online,
    one_pass_variance, stream_k, fused_launches,
)  # fmt: skip
"""Modules of transformations; their order decides which transformation a seed draws."""

TRANSFORMATIONS: Mapping[str, Transformation] = {
    transformation.name: transformation for module in MODULES for transformation in module.TRANSFORMATIONS
}


def names() -> tuple[str, ...]:
    """List the names of all transformations, in the catalogue's order."""
    return tuple(TRANSFORMATIONS)
