"""Wrap a kernel in an autotuner over warps, stages and loop tiles."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from random import Random

import libcst as cst

from kopt.rewrite.limits import option
from kopt.rewrite.source import syntax
from kopt.rewrite.source.module import Constant, Kernel, Launch, TritonModule
from kopt.rewrite.transformation import Change, RewriteFacts, Site, Transformation, change, weight
from kopt.rewrite.transformations.tiles import blocks, choices

MOST = 6
"""Configurations of one autotuner at most; each is compiled, and timed on the device."""


def _sites(module: TritonModule, facts: RewriteFacts) -> Sequence[Site]:
    sites = []
    for kernel in module.kernels:
        launch = module.only_launch(kernel)
        if launch is None or kernel.autotuned or not kernel.loops or "maxnreg" in launch.options:
            continue
        key = _key(kernel, launch)
        if any("atomic" in syntax.called(c) for c in kernel.calls) or not key:
            continue
        free = tuple(c for c in blocks(module) if c.kernel is kernel and _only_passed(c))
        sites.append(Site(partial(_tune, module, kernel, launch, key, free), weight(kernel)))
    return sites


def _key(kernel: Kernel, launch: Launch) -> tuple[str, ...]:
    """Name the run-time scalars that are sizes: the tuner's choice may depend on them."""
    skip = ("stride", "eps", "ptr")
    plain = [p.name for p in kernel.parameters if p.name in launch.arguments and not p.constexpr]
    return tuple(n for n in plain if not any(s in n.lower() for s in skip) and _scalar(launch.arguments[n].value))


def _scalar(value: cst.BaseExpression) -> bool:
    return not isinstance(value, cst.Name) or value.value.isupper() or value.value in ("columns", "rows", "n", "m", "k")


def _only_passed(constant: Constant) -> bool:
    """Return whether nothing but its own argument depends on a constant, so that a tuner may choose it."""
    if not constant.variable:
        return True
    uses = sum(
        isinstance(n, cst.Name) and n.value == constant.variable for n in syntax.walk(constant.launch.function.body)
    )
    argument = constant.launch.arguments[constant.name]
    named = argument.keyword is not None and argument.keyword.value == constant.variable
    return uses == (3 if named else 2)


def _tune(
    module: TritonModule, kernel: Kernel, launch: Launch, key: Sequence[str], free: Sequence[Constant], rng: Random
) -> Change | None:
    keyworded = [c for c in free if launch.arguments[c.name].keyword is not None]
    chosen = keyworded[:1] if keyworded and rng.random() < 0.6 else []
    configs = _configs(module, kernel, launch, chosen, rng)
    edits = module.edits()
    lines = "".join(f"        {c},\n" for c in configs)
    quoted = ", ".join(f'"{k}"' for k in key)
    edits.statements_before(
        kernel.node.decorators[0], f"@triton.autotune(\n    configs=[\n{lines}    ],\n    key=[{quoted}],\n)"
    )
    gone = {c.name for c in chosen} | {"num_warps", "num_stages"}
    kept = [a for a in launch.call.args if a.keyword is None or a.keyword.value not in gone]
    first, last = launch.call.args[0], launch.call.args[-1]
    if not kept:
        return None
    edits.replace_between(first, last, ", ".join(syntax.code(a).rstrip(", \n") for a in kept))
    return change(edits, f"autotuner over {len(configs)} configurations of {kernel.name}, chosen by {', '.join(key)}")


def _configs(
    module: TritonModule, kernel: Kernel, launch: Launch, chosen: Sequence[Constant], rng: Random
) -> list[str]:
    warps, stages = option(launch, "num_warps", 4, module), option(launch, "num_stages", 3, module)
    near = [w for w in (warps // 2, warps, warps * 2) if 1 <= w <= 16]
    depths = [stages, stages + 1] if kernel.called("tl.dot") else [stages]
    tiles: list[dict[str, int]] = [{}]
    for constant in chosen:
        values = [constant.value, *[v for v in choices(constant) if constant.value // 2 <= v <= constant.value * 4]]
        tiles = [{constant.name: v} for v in values[:3]]
    every = [(t, w, d) for t in tiles for w in near for d in depths]
    first = (tiles[0], warps, stages)
    rest = [c for c in every if c != first]
    rng.shuffle(rest)
    return [
        "triton.Config({" + ", ".join(f'"{n}": {v}' for n, v in t.items()) + f"}}, num_warps={w}, num_stages={d})"
        for t, w, d in [first, *rest[: MOST - 1]]
    ]


TRANSFORMATIONS = (
    Transformation(
        "autotune", "an autotuner that times a few configurations of warps, stages and the loop's tile",
        ("autotuned_config",), ("untuned_configuration",), _sites, 0.6,
        marks=("triton.autotune",),
    ),
)  # fmt: skip
