"""Store a tile's output in two halves: the exchange of registers before a store takes half the shared memory.

A product's result lies in registers in the layout of the tensor cores, and goes through shared memory to leave in whole
lines.  That memory adds to what the stages of the operands take, and the values on their way take registers.  In
halves, both are half as large.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from random import Random

import libcst as cst

from kopt.rewrite.effects import barriers
from kopt.rewrite.source import syntax
from kopt.rewrite.source.extent import Extent, extent
from kopt.rewrite.source.module import Kernel, TritonModule
from kopt.rewrite.source.shapes import analyse
from kopt.rewrite.transformation import Change, RewriteFacts, Site, Transformation, change, weight

NARROWEST = 32
"""Columns of the narrowest tile that is stored in halves: a half must fill a vector of each thread."""


@dataclass(frozen=True, eq=False)
class Output:
    """A store of a tile at the end of a product."""

    line: cst.SimpleStatementLine
    store: cst.Call
    pointer: cst.Arg
    value: cst.Arg
    mask: cst.Arg | None
    rows: str
    width: str
    extent: Extent


def _sites(module: TritonModule, facts: RewriteFacts) -> Sequence[Site]:
    sites = []
    for kernel in module.kernels:
        if module.only_launch(kernel) is None or not kernel.called("tl.dot"):
            continue
        known = module.constants_of(kernel)
        for node in kernel.nodes:
            found = _output(kernel, node)
            if found is not None and known.get(found.width, 0) >= NARROWEST:
                sites.append(Site(partial(_halve, module, kernel, found), weight(kernel)))
    return sites


def _output(kernel: Kernel, line: cst.CSTNode) -> Output | None:
    """Read a statement as the store of a tile that can be taken in halves; None for anything else."""
    if not isinstance(line, cst.SimpleStatementLine) or len(line.body) != 1 or not isinstance(line.body[0], cst.Expr):
        return None
    store = line.body[0].value
    if not isinstance(store, cst.Call) or syntax.called(store) != "tl.store" or syntax.starred(store):
        return None
    pointer, value, mask = (syntax.argument(store, n, name) for n, name in enumerate(("pointer", "value", "mask")))
    place = analyse(kernel).get(pointer.value) if pointer is not None else None
    if pointer is None or value is None or place is None or place.shape is None or len(place.shape) != 2:
        return None
    rows, width = place.shape
    parameter = kernel.parameter(width)
    if rows == width or parameter is None or not parameter.constexpr:
        return None
    made = extent(kernel, [pointer.value, *([mask.value] if mask is not None else [])], width)
    return Output(line, store, pointer, value, mask, rows, width, made) if made is not None else None


def _halve(module: TritonModule, kernel: Kernel, output: Output, rng: Random) -> Change | None:
    half = f"{output.width} // 2"
    edits = module.edits()
    parts = [kernel.fresh("left_half"), kernel.fresh("right_half")]
    tile = f"tl.broadcast_to({syntax.code(output.value.value)}, ({output.rows}, {output.width}))"
    lines = [f"{', '.join(parts)} = tl.split(tl.permute(tl.reshape({tile}, ({output.rows}, 2, {half})), (0, 2, 1)))"]
    for part, ranged in zip(parts, (f"tl.arange(0, {half})", f"({half} + tl.arange(0, {half}))"), strict=True):
        names = {name: kernel.fresh(f"{name}_{part}") for name in output.extent.names}
        for name, value in output.extent.assignments:
            lines.append(f"{names[name]} = {edits.text_of(value, output.extent.texts(value, names, ranged))}")
        texts = output.extent.texts(output.pointer.value, names, ranged) | {output.value.value: part}
        if output.mask is not None:
            texts |= output.extent.texts(output.mask.value, names, ranged)
        lines.append(edits.text_of(output.store, texts))
    edits.replace_statement(output.line, "\n".join(lines))
    return change(
        edits,
        f"{kernel.name} stores its tile in halves of {half} columns: half the shared memory and registers on the way",
    )


TRANSFORMATIONS = (
    Transformation(
        "output_halves", "a product's tile is stored in two halves, through half the shared memory",
        ("register_tiling", "shared_memory_tiling"), ("register_pressure", "shallow_pipeline", "tensor_cores_idle"),
        _sites, 1.5, marks=("left_half",), lightens=True, effect=barriers,
    ),
)  # fmt: skip
