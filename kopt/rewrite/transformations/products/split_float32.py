"""Compute products of float32 numbers on the tensor cores: each number is the sum of two that TF32 holds.

Triton makes three products of TF32 of one (`input_precision="tf32x3"`): what is left out is the product of the two
small parts, 2^-22 of a product.  So the result is about as exact as in float32, and tensor cores compute it at a third
of their rate for TF32, which is more than twice the rate of float32 arithmetic on an H100.  On Hopper the parts go
through shared memory in every step of the loop, which no estimate counts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from random import Random

import libcst as cst

from kopt.rewrite import effects
from kopt.rewrite.source import syntax
from kopt.rewrite.source.module import Kernel, TritonModule
from kopt.rewrite.transformation import Change, RewriteFacts, Site, Transformation, change, weight
from kopt.rewrite.transformations.product_tiles import put_tile, tile_constants
from kopt.rewrite.transformations.tiles import unmasked

SPLIT = 'input_precision="tf32x3"'
OPTIONS = ("input_precision", "allow_tf32")
"""Keywords of `tl.dot` that choose the precision."""
TILES = (
    ((128, 128, 32), 8, 3), ((128, 128, 32), 8, 3), ((64, 128, 32), 4, 3), ((128, 64, 32), 8, 3),
    ((128, 128, 32), 8, 2), ((64, 64, 32), 4, 3), None,
)  # fmt: skip
"""Tiles (M, N, K) with warps and stages: the parts take registers beside the results; None leaves the tile as it is."""


def _sites(module: TritonModule, facts: RewriteFacts) -> Sequence[Site]:
    found = [(kernel, _exact(module, kernel)) for kernel in module.kernels]
    return [Site(partial(_split, module, kernel, options), weight(kernel)) for kernel, options in found if options]


def _exact(module: TritonModule, kernel: Kernel) -> list[cst.Arg]:
    """Find the arguments by which products are computed in float32."""
    known = _constants(module, kernel)
    return [
        arg
        for call in kernel.called("tl.dot")
        for arg in call.args
        if _says_float32(arg, known) and sum(_chooses(other) for other in call.args) == 1
    ]


def _constants(module: TritonModule, kernel: Kernel) -> Mapping[str, str]:
    """Return the texts of the constants that a kernel names in its body, each once, or gets from all its launches."""
    pairs = [pair for statement in kernel.body if (pair := syntax.assigned(statement))]
    names = [name for name, _ in pairs]
    passed = [
        {name: syntax.code(argument.value) for name, argument in launch.arguments.items()}
        for launch in module.launches_of(kernel)
    ]
    alike = set.intersection(*(set(each.items()) for each in passed)) if passed else set()
    return dict(alike) | {name: syntax.code(value) for name, value in pairs if names.count(name) == 1}


def _chooses(arg: cst.Arg) -> bool:
    return arg.keyword is not None and arg.keyword.value in OPTIONS


def _says_float32(arg: cst.Arg, known: Mapping[str, str]) -> bool:
    if arg.keyword is None or not _chooses(arg):
        return False
    text = syntax.code(arg.value)
    said = known.get(text, text)
    return said == "False" if arg.keyword.value == "allow_tf32" else said.strip("'\"") == "ieee"


def _split(module: TritonModule, kernel: Kernel, options: Sequence[cst.Arg], rng: Random) -> Change | None:
    edits = module.edits()
    for option in options:
        edits.replace(option, SPLIT)
    said = f"float32 products of {kernel.name} in three of TF32"
    chosen, found = rng.choice(TILES), tile_constants(module, kernel)
    if chosen is None or found is None or kernel.autotuned:
        return change(edits, said)
    tile, warps, stages = chosen
    constants, factors = found
    values = [size // factor for size, factor in zip(tile, factors, strict=True)]
    if any(v > c.value and unmasked(c.kernel, c.name) for c, v in zip(constants, values, strict=True)):
        return change(edits, said)
    put_tile(edits, module, constants, values, warps, stages)
    return change(edits, f"{said}, {'x'.join(map(str, tile))} with {warps} warps and {stages} stages")


TRANSFORMATIONS = (
    Transformation(
        "split_float32", "products of float32 numbers on the tensor cores, each as three products of their TF32 parts",
        ("tensor_cores", "precision_split"),
        ("tensor_cores_idle", "instruction_overhead", "untuned_configuration"),
        _sites, 1.5, marks=("tf32x3",), effect=effects.matrix_instructions,
    ),
)  # fmt: skip
