"""Transformations of launch options: warps, stages, registers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from random import Random

from kopt.rewrite.limits import option
from kopt.rewrite.source import syntax
from kopt.rewrite.source.module import Kernel, TritonModule
from kopt.rewrite.transformation import Change, RewriteFacts, Site, Transformation, change, weight

DEFAULTS = {"num_warps": 4, "num_stages": 3, "maxnreg": 0}


def _sites(name: str, values: Sequence[int], applies: Callable[[Kernel], bool]) -> Callable[..., Sequence[Site]]:
    def sites(module: TritonModule, facts: RewriteFacts) -> Sequence[Site]:
        return [
            Site(kernel, launch, choices=(name, option(launch, name, DEFAULTS[name], module), tuple(values)),
                 weight=weight(kernel))
            for kernel in module.kernels
            if not kernel.autotuned and applies(kernel)
            for launch in module.launches_of(kernel)
            if not launch.opaque and launch.call.args
        ]  # fmt: skip

    return sites


def _set_option(module: TritonModule, site: Site, rng: Random) -> Change | None:
    name, now, values = site.choices
    launch = site.launch
    assert launch is not None
    near = [v for v in values if v != now and (not now or now // 4 <= v <= now * 4)]
    value = rng.choice(near or [v for v in values if v != now])
    edits = module.edits()
    if name in launch.options:
        edits.replace(launch.options[name].value, str(value))
    else:
        edits.after(launch.call.args[-1], f", {name}={value}")
    was = f"{now} -> {value}" if now else f"{value}"
    return change(edits, f"{name} {was} at the launch of {site.kernel.name}")


def _pipelined(kernel: Kernel) -> bool:
    return bool(kernel.called("tl.dot")) and any(
        syntax.called(node) == "tl.dot" for loop in kernel.loops for node in syntax.walk(loop)
    )


KINDS = (
    Transformation(
        "warps", "another number of warps per program",
        ("register_tiling", "vectorized_load"),
        ("spills", "low_occupancy", "narrow_loads", "register_pressure", "untuned_configuration"),
        _sites("num_warps", (1, 2, 4, 8, 16), lambda kernel: True), _set_option, 1.5,
    ),
    Transformation(
        "stages", "another number of stages in which loops of products are pipelined",
        ("software_pipelining", "async_copy_tma", "shared_memory_tiling"),
        ("shallow_pipeline", "too_few_bytes_in_flight", "untuned_configuration"),
        _sites("num_stages", (2, 3, 4, 5), _pipelined), _set_option, 1.5,
    ),
    Transformation(
        "register_limit", "a bound on registers per thread, for more resident warps",
        ("register_tiling",), ("low_occupancy", "register_pressure"),
        _sites("maxnreg", (64, 96, 128, 168), lambda kernel: bool(kernel.loops)), _set_option, 0.4,
    ),
)  # fmt: skip
