"""Transform what a loop accumulates."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from random import Random

import libcst as cst

from kopt.rewrite.source import syntax
from kopt.rewrite.source.module import Kernel, TritonModule
from kopt.rewrite.source.shapes import analyse
from kopt.rewrite.source.updates import Addition, additions, initial, is_float32_zero, uses
from kopt.rewrite.transformation import Change, RewriteFacts, Site, Transformation, change, weight


def _hoist_sites(module: TritonModule, facts: RewriteFacts) -> Sequence[Site]:
    return [
        Site(partial(_hoist, module, kernel, loop, added, line, total), weight(kernel))
        for kernel in module.kernels
        for loop in kernel.loops
        if isinstance(loop.iter, cst.Call)
        for adds in additions(loop).values()
        if len(adds) == 1 and (added := adds[0]).value is not None and uses(loop.body, added.name) <= 2
        for line in [initial(kernel, added.name, loop)]
        if line is not None and _starts_at_zero(line)
        for total in [added.value]
        if isinstance(total, cst.Call) and _summed(kernel, total)
    ]  # fmt: skip


def _starts_at_zero(line: cst.SimpleStatementLine) -> bool:
    pair = syntax.assigned(line)
    return pair is not None and is_float32_zero(pair[1])


def _summed(kernel: Kernel, total: cst.Call) -> bool:
    """Return whether a call sums a value whose shape is known in constants and compile-time parameters."""
    if syntax.called(total) != "tl.sum" or not total.args:
        return False
    summand = analyse(kernel).get(total.args[0].value)
    constexpr = {p.name for p in kernel.parameters if p.constexpr}
    return (
        summand is not None and bool(summand.shape) and all(d in constexpr or d.isdigit() for d in summand.shape or ())
        and (analyse(kernel)[total].shape is not None)
    )  # fmt: skip


def _hoist(
    module: TritonModule,
    kernel: Kernel,
    loop: cst.For,
    added: Addition,
    line: cst.SimpleStatementLine,
    total: cst.Call,
    rng: Random,
) -> Change | None:
    inner = total.args[0].value
    shape = analyse(kernel)[inner].shape
    assert shape is not None
    parts = kernel.fresh(f"{added.name}_parts")
    edits = module.edits()
    extent = ", ".join(shape) + ("," if len(shape) == 1 else "")
    edits.replace(line.body[0], f"{parts} = tl.zeros(({extent}), dtype=tl.float32)")
    edits.replace(added.statement, f"{parts} += {syntax.code(inner)}")
    rest = "".join(f", {syntax.code(a).rstrip(', ')}" for a in total.args[1:])
    edits.statements_after(loop, f"{added.name} = tl.sum({parts}{rest})")
    return change(edits, f"{added.name} of {kernel.name} is summed once after the loop, not in every step")


def _fuse_sites(module: TritonModule, facts: RewriteFacts) -> Sequence[Site]:
    return [
        Site(partial(_fuse, module, kernel, added, added.value), weight(kernel))
        for kernel in module.kernels
        for loop in kernel.loops
        for adds in additions(loop).values()
        for added in adds
        if isinstance(added.value, cst.Call) and syntax.called(added.value) == "tl.dot" and len(added.value.args) == 2
        and not syntax.starred(added.value) and _starts_zeros(kernel, added.name)
    ]  # fmt: skip


def _starts_zeros(kernel: Kernel, name: str) -> bool:
    lines = [p[1] for s in kernel.body if (p := syntax.assigned(s)) and p[0] == name]
    return len(lines) == 1 and syntax.called(lines[0]) == "tl.zeros" and "tl.float32" in syntax.code(lines[0])


def _fuse(module: TritonModule, kernel: Kernel, added: Addition, product: cst.Call, rng: Random) -> Change | None:
    edits = module.edits()
    left, right = (syntax.code(a.value) for a in product.args)
    edits.replace(added.statement, f"{added.name} = tl.dot({left}, {right}, {added.name})")
    return change(edits, f"the product accumulates into {added.name} directly in {kernel.name}")


TRANSFORMATIONS = (
    Transformation(
        "hoist_reduction", "a reduction in every step of a loop becomes a tile of partial sums, reduced once after it",
        ("register_tiling", "precision_split"), ("reduction_in_loop", "instruction_overhead"),
        _hoist_sites, 3.0, marks=("_parts",),
    ),
    Transformation(
        "fused_accumulator", "acc += tl.dot(a, b) becomes acc = tl.dot(a, b, acc)",
        ("tensor_cores", "precision_split"), ("tensor_cores_idle", "instruction_overhead"), _fuse_sites, 1.0,
        refines=True,
    ),
)  # fmt: skip
