"""Transform launch options: warps, stages, registers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from random import Random

from kopt.rewrite.limits import option
from kopt.rewrite.source import syntax
from kopt.rewrite.source.module import Kernel, Launch, TritonModule
from kopt.rewrite.transformation import Change, RewriteFacts, Site, Transformation, change, weight

DEFAULTS = {"num_warps": 4, "num_stages": 3, "maxnreg": 0}
"""Triton's own; 0 stands for no bound on registers."""


def _sites(
    name: str, values: Sequence[int], applies: Callable[[Kernel], bool]
) -> Callable[[TritonModule, RewriteFacts], Sequence[Site]]:
    """Make the function that finds the launches whose option `name` may take other values."""

    def sites(module: TritonModule, facts: RewriteFacts) -> Sequence[Site]:
        return [
            Site(partial(_set_option, module, kernel, launch, name, values), weight(kernel))
            for kernel in module.kernels
            if not kernel.autotuned and applies(kernel)
            for launch in module.launches_of(kernel)
            if not launch.opaque and launch.call.args
        ]

    return sites


def _set_option(
    module: TritonModule, kernel: Kernel, launch: Launch, name: str, values: Sequence[int], rng: Random
) -> Change | None:
    now = option(launch, name, DEFAULTS[name], module)
    near = [v for v in values if v != now and (not now or now // 4 <= v <= now * 4)]
    value = rng.choice(near or [v for v in values if v != now])
    edits = module.edits()
    if name in launch.options:
        edits.replace(launch.options[name].value, str(value))
    else:
        edits.after(launch.call.args[-1], f", {name}={value}")
    was = f"{now} -> {value}" if now else f"{value}"
    return change(edits, f"{name} {was} at the launch of {kernel.name}")


def _pipelined(kernel: Kernel) -> bool:
    return bool(kernel.called("tl.dot")) and any(
        syntax.called(node) == "tl.dot" for loop in kernel.loops for node in syntax.walk(loop)
    )


TRANSFORMATIONS = (
    Transformation(
        "warps", "another number of warps per program",
        ("register_tiling", "vectorized_load"),
        ("spills", "low_occupancy", "narrow_loads", "register_pressure", "untuned_configuration"),
        _sites("num_warps", (1, 2, 4, 8, 16), lambda kernel: True), 1.5,
    ),
    Transformation(
        "stages", "another number of stages in which loops of products are pipelined",
        ("software_pipelining", "async_copy_tma", "shared_memory_tiling"),
        ("shallow_pipeline", "too_few_bytes_in_flight", "untuned_configuration"),
        _sites("num_stages", (2, 3, 4, 5), _pipelined), 1.5, lightens=True,
    ),
    Transformation(
        "register_limit", "a bound on registers per thread, for more resident warps",
        ("register_tiling",), ("low_occupancy", "register_pressure"),
        _sites("maxnreg", (64, 96, 128, 168), lambda kernel: bool(kernel.loops)), 0.4, marks=("maxnreg",),
    ),
)  # fmt: skip
