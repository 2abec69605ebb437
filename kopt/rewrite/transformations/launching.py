"""Transform launch options: warps, stages, registers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from random import Random
from typing import NamedTuple

from kopt.rewrite.limits import option
from kopt.rewrite.source import syntax
from kopt.rewrite.source.module import Kernel, Launch, TritonModule
from kopt.rewrite.transformation import Change, RewriteFacts, Site, Transformation, change, weight


class Option(NamedTuple):
    """A launch option that a transformation sets."""

    name: str
    default: int
    """Triton's default; 0 means no limit of registers."""
    values: tuple[int, ...]
    applies: Callable[[Kernel], bool]
    """Return whether the option matters for a kernel."""


def launches_with(which: Option, module: TritonModule) -> list[tuple[Kernel, Launch]]:
    """Find the launches at which an option may take another value, with their kernels."""
    return [
        (kernel, launch)
        for kernel in module.kernels
        if not kernel.autotuned and which.applies(kernel)
        for launch in module.launches_of(kernel)
        if not launch.opaque and launch.call.args
    ]


def _sites(which: Option) -> Callable[[TritonModule, RewriteFacts], Sequence[Site]]:
    """Make the function that finds the launches whose option may take other values."""

    def sites(module: TritonModule, facts: RewriteFacts) -> Sequence[Site]:
        return [
            Site(partial(_set_option, module, kernel, launch, which), weight(kernel))
            for kernel, launch in launches_with(which, module)
        ]

    return sites


def _set_option(module: TritonModule, kernel: Kernel, launch: Launch, which: Option, rng: Random) -> Change | None:
    name, values = which.name, which.values
    now = option(launch, name, which.default, module)
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


WARPS = Option("num_warps", 4, (1, 2, 4, 8, 16), lambda kernel: True)
STAGES = Option("num_stages", 3, (2, 3, 4, 5), _pipelined)
REGISTERS = Option("maxnreg", 0, (64, 96, 128, 168), lambda kernel: bool(kernel.loops))


TRANSFORMATIONS = (
    Transformation(
        "warps", "another number of warps per program",
        ("register_tiling", "vectorized_load"),
        ("spills", "low_occupancy", "narrow_loads", "register_pressure", "untuned_configuration"),
        _sites(WARPS), 1.5,
    ),
    Transformation(
        "stages", "another number of stages in which loops of products are pipelined",
        ("software_pipelining", "async_copy_tma", "shared_memory_tiling"),
        ("shallow_pipeline", "too_few_bytes_in_flight", "untuned_configuration"),
        _sites(STAGES), 1.5, lightens=True,
    ),
    Transformation(
        "register_limit", "a bound on registers per thread, for more resident warps",
        ("register_tiling",), ("low_occupancy", "register_pressure"),
        _sites(REGISTERS), 0.4, marks=("maxnreg",), refines=True,
    ),
)  # fmt: skip
