"""Choose a tile on the host by the workload's size: main workloads of different sizes get different tiles.

A literal that sets a tile's size becomes `small if size <= bound else large`, where `size` is a number that the
launches of the main workloads pass with different values.  Both literals can then be changed one by one.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from random import Random

import libcst as cst

from kopt.rewrite.source import syntax
from kopt.rewrite.source.module import Constant, Launch, TritonModule
from kopt.rewrite.transformation import Change, RewriteFacts, Site, Transformation, change, weight
from kopt.rewrite.transformations.tiles import blocks, choices


def _sites(module: TritonModule, facts: RewriteFacts) -> Sequence[Site]:
    """Find tile sizes whose literal stands after a size that differs between the main workloads."""
    return [
        Site(partial(_choose, module, constant, name, bounds), weight(constant.kernel))
        for constant in blocks(module)
        if choices(constant) and not constant.kernel.autotuned and not _chosen(module, constant)
        for name, bounds in _sizes(module, constant, facts)
    ]


def _chosen(module: TritonModule, constant: Constant) -> bool:
    """Return whether a literal is chosen by a size already."""
    return sum(c.name == constant.name and c.kernel is constant.kernel for c in module.constants) > 1


def _sizes(module: TritonModule, constant: Constant, facts: RewriteFacts) -> list[tuple[str, list[int]]]:
    """List names of the launching function that hold a differing size where the literal stands, with its bounds."""
    found = differing_sizes(constant.launch, facts)
    return [pair for pair in found if defined_before(module, constant.launch, pair[0], constant.literal)]


def differing_sizes(launch: Launch, facts: RewriteFacts) -> list[tuple[str, list[int]]]:
    """List names that a launch passes whose values differ between main workloads, each with all but the largest."""
    found = []
    for name, passed in launch.arguments.items():
        values = {int(text) for built in facts.launches if built.kernel == launch.kernel
                  for key, text in built.arguments if key == name and text.isdigit()}  # fmt: skip
        if len(values) > 1 and isinstance(passed.value, cst.Name):
            found.append((passed.value.value, sorted(values)[:-1]))
    return found


def defined_before(module: TritonModule, launch: Launch, name: str, node: cst.CSTNode) -> bool:
    """Return whether a name gets its only value in a statement of the launching function's body before a node."""
    body = launch.function.body.body
    stored = [s for s in body for n in syntax.walk(s) if isinstance(n, cst.AssignTarget)
              and name in syntax.names(n.target)]  # fmt: skip
    if len(stored) != 1 or not isinstance(stored[0], cst.SimpleStatementLine):
        return False
    end = module.spans[stored[0]]
    return end.start + end.length <= module.spans[node].start


def _choose(module: TritonModule, constant: Constant, size: str, bounds: Sequence[int], rng: Random) -> Change | None:
    bound = rng.choice(bounds)
    near = [v for v in choices(constant) if constant.value // 2 <= v <= constant.value * 2]
    if not near:
        return None
    value = rng.choice(near)
    edits = module.edits()
    edits.replace(constant.literal, f"({value} if {size} <= {bound} else {constant.value})")
    return change(
        edits,
        f"{constant.name} of {constant.kernel.name} is {value} where {size} is at most {bound}, else {constant.value}",
    )


TRANSFORMATIONS = (
    Transformation(
        "tile_by_size", "the host chooses a tile's size by the workload's size", (),
        ("tail_wave", "too_few_programs", "small_tiles", "untuned_configuration"), _sites, 1.5,
    ),
)  # fmt: skip
