"""Choose a tile's size and the warps that share it together, by the elements that each thread then holds.

For kernels without matrix products, whose time is that of their memory traffic, the elements per thread decide how wide
loads are, how many bytes are under way, and how many registers are taken; changing tile or warps alone moves them the
wrong way as often as not.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from random import Random

from kopt.rewrite.limits import largest_tile, option
from kopt.rewrite.source.module import Constant, Kernel, Launch, TritonModule
from kopt.rewrite.source.shapes import analyse
from kopt.rewrite.transformation import Change, RewriteFacts, Site, Transformation, change, weight
from kopt.rewrite.transformations.tiles import blocks, choices

WARPS = {1: 1, 2: 2, 4: 4, 8: 4, 16: 2, 32: 1}
"""Warps per program, each with its weight in the draw."""
PER_THREAD = {4: 1, 8: 3, 16: 4, 32: 4, 64: 1}
"""Elements of the largest tile per thread, each with its weight in the draw."""

SHORTEST = 32
"""Fewest elements of a tile's last dimension."""


def _sites(module: TritonModule, facts: RewriteFacts) -> Sequence[Site]:
    sites = []
    for kernel in module.kernels:
        launch = module.only_launch(kernel)
        if launch is None or kernel.autotuned or kernel.called("tl.dot") or not launch.call.args:
            continue
        elements = largest_tile(kernel, launch, module, facts)
        if elements is not None and elements >= min(PER_THREAD) * 32:
            scaled = [c for c in blocks(module) if c.kernel is kernel]
            wide = scaled if len(scaled) == 1 else [c for c in scaled if c.value > 1]
            single = wide[0] if len(wide) == 1 else None
            sites.append(Site(partial(_tune, module, kernel, launch, elements, single), weight(kernel)))
    return sites


def _tune(
    module: TritonModule, kernel: Kernel, launch: Launch, elements: int, block: Constant | None, rng: Random
) -> Change | None:
    now = option(launch, "num_warps", 4, module)
    offers: dict[tuple[int, int], int] = {}
    least = SHORTEST if block is not None and _contiguous(kernel, block.name) else 1
    for size in [block.value, *choices(block, least)] if block is not None else [1]:
        tile = elements * size // (block.value if block is not None else 1)
        for warps, wanted in WARPS.items():
            held = tile // (32 * warps)
            unchanged = warps == now and (block is None or size == block.value)
            if held in PER_THREAD and not unchanged:
                offers[size, warps] = wanted * PER_THREAD[held]
    if not offers:
        return None
    ((size, warps),) = rng.choices(list(offers), list(offers.values()))
    edits = module.edits()
    if block is not None and size != block.value:
        edits.replace(block.literal, str(size))
    if "num_warps" in launch.options:
        edits.replace(launch.options["num_warps"].value, str(warps))
    else:
        edits.after(launch.call.args[-1], f", num_warps={warps}")
    tile = elements * size // (block.value if block is not None else 1)
    named = f"{block.name} {size} and " if block is not None else ""
    return change(edits, f"{named}{warps} warps in {kernel.name}: {tile // (32 * warps)} elements of a tile per thread")


def _contiguous(kernel: Kernel, block: str) -> bool:
    """Return whether a block is the last dimension of tiles, along which memory is contiguous as a rule."""
    shapes = [value.shape for value in analyse(kernel).values() if value.shape]
    return any(shape[-1] == block for shape in shapes if len(shape) == max(map(len, shapes)))


TRANSFORMATIONS = (
    Transformation(
        "tile_and_warps", "a tile's size and the warps that share it, by the elements per thread",
        ("register_tiling", "vectorized_load"),
        ("untuned_configuration", "too_few_bytes_in_flight", "low_occupancy", "register_pressure", "spills",
         "narrow_loads"),
        _sites, 3.0, lightens=True,
    ),
)  # fmt: skip
