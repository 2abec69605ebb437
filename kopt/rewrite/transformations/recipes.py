"""Take several transformations at once that pay together: whole designs, which single draws would seldom put together.

A recipe is a list of steps.  Each step is a transformation that is applied where it finds a site; a recipe that needs
a step and finds no site for it gives no proposal.  The numbers of a design (tiles, warps, stages) are left to later
draws.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from random import Random

from kopt.rewrite.limits import plausible
from kopt.rewrite.source.module import TritonModule, parse
from kopt.rewrite.source.shapes import described_access
from kopt.rewrite.transformation import Change, RewriteFacts, Site, Transformation
from kopt.rewrite.transformations import (
    accumulate,
    algebra,
    design_by_size,
    loops,
    masks,
    persistent,
    pipelined_rows,
    product_tiles,
    rows,
    specialise_sizes,
    split_k,
    tile_and_warps,
    whole_axis,
    windows,
)
from kopt.rewrite.transformations.design_by_size import facts_of_designs
from kopt.rewrite.transformations.passes import kept_values
from kopt.rewrite.transformations.products import descriptors, flat_tiles, output_halves, uneven_tile, wide_product

_PARTS = {
    each.name: each
    for module in (
        accumulate, algebra, design_by_size, loops, masks, persistent, pipelined_rows, product_tiles, rows,
        specialise_sizes, split_k, tile_and_warps, whole_axis, windows, descriptors, flat_tiles, output_halves,
        uneven_tile, wide_product, kept_values,
    )
    for each in module.TRANSFORMATIONS
}  # fmt: skip


DRAWS = 4
"""Draws of a recipe's numbers before it gives no proposal."""


@dataclass(frozen=True)
class Step:
    """One transformation of a recipe."""

    name: str
    chance: float = 1.0
    """Probability that the step is taken at all."""
    times: int = 1
    needed: bool = False
    """Whether the recipe ends without a proposal where the step is taken and finds no site."""


def _or(*choices: tuple[Step, ...]) -> tuple[tuple[Step, ...], ...]:
    return choices


Course = tuple[tuple[tuple[Step, ...], ...], ...]
"""Stages of a recipe, each with the lists of steps of which one is drawn."""

PRODUCT: Course = (
    _or((Step("even_flag", times=4), Step("short_gate"), Step("short_polynomial"), Step("wide_product", 0.85))),
    _or((Step("design_by_size", 0.6),)),
)
"""What a product needs before its kernels get designs of their own."""
EACH_KERNEL: Course = (
    _or(
        (Step("tile_shape", needed=True), Step("flat_tiles", needed=True), Step("output_halves", 0.8)),
        (Step("tile_shape", needed=True), Step("flat_tiles", needed=True), Step("output_halves", 0.6),
         Step("host_descriptors")),
        (Step("uneven_tile"), Step("tile_shape", needed=True), Step("flat_tiles", 0.7, needed=True),
         Step("host_descriptors", 0.3)),
    ),
)  # fmt: skip
"""The design of each kernel of a product in a persistent loop."""
EACH_DESCRIBED: Course = (
    _or((Step("uneven_tile", 0.5), Step("tile_shape", needed=True), Step("host_descriptors", needed=True))),
)
"""The design of each kernel of a product whose tiles come by descriptors, a program for each tile."""
SIZES: Course = (_or((Step("design_by_size", needed=True),)),)
EACH_SIZE: Course = (_or((Step("tile_shape", needed=True),), (Step("tile_shape", needed=True),), ()),)
"""Tiles for each size of a design that has paid."""
ROWS: Course = (
    _or((Step("whole_row", needed=True), Step("kept_values"), Step("shared_reciprocal"))),
    _or((), (Step("pipelined_rows"),), (Step("rows_per_program"),), (Step("rows_per_program"), Step("pipelined_rows"))),
)
AXIS: Course = (
    _or((Step("whole_axis", needed=True), Step("shared_reciprocal"))),
    _or((Step("grid_order"),), (Step("grid_order"),), (Step("grid_order"),), (Step("pipelined_rows"),)),
)
SUMS: Course = (
    _or((Step("hoist_reduction", needed=True), Step("rows_per_program"), Step("tile_and_warps", 0.9))),
    _or((Step("split_k", 0.7), Step("pipeline_loop"), Step("unroll_loop", 0.5)), (Step("split_k", 0.5),)),
)
WINDOWS: Course = (
    _or((Step("shared_windows", needed=True), Step("constant_sizes", 0.7), Step("narrow_index", 0.7))),
    _or((), (Step("grid_order"),), (Step("tile_and_warps"),)),
)


def _sites(
    course: Course, each: Course, needed: str, once: bool, module: TritonModule, facts: RewriteFacts
) -> Sequence[Site]:
    """Offer a recipe where the transformation that it cannot do without has a site."""
    if once and any(described_access(node, "load") for kernel in module.kernels for node in kernel.nodes):
        return ()
    return [Site(partial(_cook, course, each, module, facts))] if _PARTS[needed].sites(module, facts) else ()


def _cook(course: Course, each: Course, module: TritonModule, facts: RewriteFacts, rng: Random) -> Change | None:
    done = _Done(module, facts)
    kept = {kernel.name for kernel in module.kernels}
    for choices in course:
        taken = _drawn(done, choices, kept, rng)
        if taken is None:
            return None
        done = taken
    if each:
        before = {kernel.name for kernel in module.kernels} | module.left_out
        done = replace(done, facts=facts_of_designs(done.module, facts))
        designs = [k for k in done.module.kernels if k.called("tl.dot") and (k.name in kept or k.name not in before)]
        for kernel in designs:
            for choices in each:
                taken = _drawn(done, choices, {kernel.name}, rng)
                if taken is None:
                    return None
                done = taken
    return Change(done.module.source, "; ".join(done.descriptions), done.parts) if done.descriptions else None


def _drawn(done: _Done, choices: Sequence[Sequence[Step]], kernels: set[str], rng: Random) -> _Done | None:
    """Draw one of several lists of steps and take it, again where it does not fit; None where no draw fits."""
    for _ in range(DRAWS):
        names = set(kernels)
        taken = done.take(rng.choice(choices), rng, names)
        if taken is not None and plausible(taken.module, taken.facts, done.module):
            kernels |= names
            return taken
    return None


@dataclass(frozen=True)
class _Done:
    """A source on its way through a recipe."""

    module: TritonModule
    facts: RewriteFacts
    descriptions: tuple[str, ...] = ()
    parts: tuple[str, ...] = ()
    """Names of the steps taken."""

    def take(self, steps: Sequence[Step], rng: Random, kernels: set[str]) -> _Done | None:
        """Take steps on the kernels of these names, to which new kernels are added; None where a needed one fails."""
        done = self
        for step in steps:
            if rng.random() >= step.chance:
                continue
            for time in range(step.times):
                after = done._apply(step.name, rng, kernels)
                if after is None and time == 0 and step.needed:
                    return None
                if after is None:
                    break
                done = after
        return done

    def _apply(self, name: str, rng: Random, kernels: set[str]) -> _Done | None:
        """Apply a transformation at one of its sites in the kernels of these names; None where there is none."""
        focus = replace(self.module, kernels=tuple(k for k in self.module.kernels if k.name in kernels))
        sites = _PARTS[name].sites(focus, self.facts)
        change = rng.choices(sites, [s.weight for s in sites])[0].apply(rng) if sites else None
        after = parse(change.source) if change is not None else None
        if change is None or after is None:
            return None
        left_out = self.module.left_out | descriptors.stand_ins(after)
        after = replace(after, kernels=tuple(k for k in after.kernels if k.name not in left_out), left_out=left_out)
        kernels |= {kernel.name for kernel in after.kernels} - {kernel.name for kernel in self.module.kernels}
        return _Done(after, self.facts, (*self.descriptions, change.description), (*self.parts, name))


def _recipe(
    name: str,
    description: str,
    needed: str,
    course: Course,
    each: Course = (),
    weight: float = 16.0,
    *,
    once: bool = False,
) -> Transformation:
    """Make a transformation of a recipe, which leads to the techniques of its steps.

    Its effect is that of the step that it cannot do without; a recipe of designs takes no step in every draw.

    Args:
        name: name of the recipe.
        description: description in one line.
        needed: the transformation that it cannot do without.
        course: the stages for all kernels.
        each: the stages for each kernel of a product.
        weight: weight in the draw.
        once: whether kernels whose loads come by descriptors have their design already.
    """
    names = [step.name for choices in (*course, *each) for steps in choices for step in steps]
    parts = [_PARTS[part] for part in dict.fromkeys(names)]
    return Transformation(
        name, description,
        tuple(dict.fromkeys(t for part in parts for t in part.techniques)),
        tuple(dict.fromkeys(b for part in parts for b in part.bottlenecks)),
        partial(_sites, course, each, needed, once), weight, marks=_PARTS[needed].marks,
        effect=None if each else _PARTS[needed].effect,
    )  # fmt: skip


TRANSFORMATIONS = (
    _recipe(
        "persistent_product",
        "a product with wide tiles in one flat loop of persistent programs, with a design for each size",
        "flat_tiles", PRODUCT, EACH_KERNEL, 24.0,
    ),
    _recipe(
        "described_product",
        "a product with wide tiles that come by tensor descriptors, a program for each, with a design for each size",
        "host_descriptors", PRODUCT, EACH_DESCRIBED, 24.0, once=True,
    ),
    _recipe(
        "tiles_by_size", "a kernel for each size of a product, each with the tile that suits its size",
        "tile_shape", SIZES, EACH_SIZE, 6.0,
    ),
    _recipe(
        "rows_in_registers", "rows are read once into registers, the next ones while they are computed",
        "whole_row", ROWS,
    ),
    _recipe(
        "axis_in_registers", "an outer axis is read once into registers, by programs in the order of memory",
        "whole_axis", AXIS,
    ),
    _recipe(
        "streamed_sum", "a sum over long rows: several rows a program, partial sums, loads ahead, loops shared",
        "hoist_reduction", SUMS,
    ),
    _recipe(
        "window_lines", "pooling windows share the lines that they read, with cheap index arithmetic",
        "shared_windows", WINDOWS,
    ),
)  # fmt: skip
