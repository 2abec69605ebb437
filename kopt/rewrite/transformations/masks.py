"""Transform masks and offsets: a flag for divisible sizes, and alignment hints on offsets."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from random import Random

import libcst as cst

from kopt.rewrite.source import syntax
from kopt.rewrite.source.divisibility import Bound, bounds
from kopt.rewrite.source.module import Kernel, Launch, TritonModule
from kopt.rewrite.transformation import (
    Change,
    RewriteFacts,
    Site,
    Transformation,
    add_arguments,
    change,
    name_literal,
    weight,
)


def _even_sites(module: TritonModule, facts: RewriteFacts) -> Sequence[Site]:
    sites: list[Site] = []
    for kernel in module.kernels:
        launch = module.only_launch(kernel)
        if launch is None or kernel.autotuned or not launch.call.args:
            continue
        by_flag: dict[str, list[Bound]] = {}
        for bound in bounds(module, kernel, launch):
            passed = (launch.arguments.get(bound.size), launch.arguments.get(bound.block))
            if all(passed) and not _flagged(kernel, bound.comparison):
                by_flag.setdefault(f"EVEN_{bound.size.upper()}_{bound.block.upper()}", []).append(bound)
        sites += [
            Site(partial(_flag, module, kernel, launch, flag, group), weight(kernel))
            for flag, group in by_flag.items()
            if flag not in kernel.names
        ]
    return sites


def _flagged(kernel: Kernel, comparison: cst.Comparison) -> bool:
    """Return whether a comparison already stands beside a flag."""
    for node in kernel.nodes:
        if isinstance(node, cst.BinaryOperation) and isinstance(node.operator, cst.BitOr) and node.left is comparison:
            return True
    return False


def _flag(
    module: TritonModule, kernel: Kernel, launch: Launch, flag: str, group: Sequence[Bound], rng: Random
) -> Change | None:
    edits = module.edits()
    for bound in group:
        edits.replace(bound.comparison, f"({_bare(bound.comparison)}) | {flag}")
    default = " = False" if any(p.default is not None for p in kernel.parameters) else ""
    edits.after(kernel.parameters[-1].last, f", {flag}: tl.constexpr{default}")
    size = launch.arguments[group[0].size].value
    width = name_literal(edits, launch, group[0].block)
    add_arguments(edits, launch, (flag, f"{syntax.operand(size)} % {width} == 0 < {syntax.operand(size)}"))
    text = f"masks on {group[0].size} in {kernel.name} fall away where it is a multiple of {group[0].block}"
    return change(edits, text)


def _bare(comparison: cst.Comparison) -> str:
    return syntax.code(comparison.with_changes(lpar=(), rpar=()))


def _hint_sites(module: TritonModule, facts: RewriteFacts) -> Sequence[Site]:
    """Find names that are assigned offsets `program * BLOCK + tl.arange(0, BLOCK)`."""
    sites = []
    for kernel in module.kernels:
        for node in kernel.nodes:
            pair = syntax.assigned(node) if isinstance(node, cst.Assign) else None
            shape = syntax.match("BASE_ * BLOCK_ + tl.arange(0, BLOCK_)", pair[1]) if pair else None
            if pair and shape and _constexpr(kernel, shape["BLOCK_"]):
                sites.append(Site(partial(_hint, module, kernel, *pair, syntax.code(shape["BLOCK_"]))))
    return sites


def _constexpr(kernel: Kernel, node: cst.CSTNode) -> bool:
    parameter = kernel.parameter(syntax.code(node))
    return parameter is not None and parameter.constexpr


def _hint(
    module: TritonModule, kernel: Kernel, name: str, offsets: cst.BaseExpression, block: str, rng: Random
) -> Change | None:
    edits = module.edits()
    edits.replace(offsets, f"tl.max_contiguous(tl.multiple_of({syntax.code(offsets)}, {block}), {block})")
    return change(edits, f"{name} of {kernel.name} is declared contiguous and a multiple of {block}")


TRANSFORMATIONS = (
    Transformation(
        "even_flag", "masks that a divisible size makes superfluous are dropped at compile time by a flag",
        ("masked_access", "vectorized_load"),
        ("masked_inner_loop", "narrow_loads", "instruction_overhead"), _even_sites, 1.5, marks=("EVEN_",),
        refines=True,
    ),
    Transformation(
        "offset_hint", "tl.multiple_of and tl.max_contiguous on block offsets", ("vectorized_load",),
        ("narrow_loads", "index_arithmetic"), _hint_sites, 0.3, refines=True,
    ),
)  # fmt: skip
