"""Transform loops: software pipelining, unrolling, compile-time unrolling."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from random import Random

import libcst as cst

from kopt.rewrite.limits import option
from kopt.rewrite.source import syntax
from kopt.rewrite.source.module import Kernel, TritonModule
from kopt.rewrite.transformation import Change, RewriteFacts, Site, Transformation, change, weight

LONGEST_STATIC = 16
"""Most steps of a loop that is unrolled at compile time."""
LOOP_OPTIONS = {"num_stages": (2, 3, 4, 5, 6), "loop_unroll_factor": (2, 4)}
"""Options of `tl.range` that are numbers, and their values."""


def _ranges(module: TritonModule) -> list[tuple[Kernel, cst.For, cst.Call]]:
    """Find the loops of kernels over `range` or `tl.range`."""
    return [
        (kernel, loop, loop.iter)
        for kernel in module.kernels
        for loop in kernel.loops
        if isinstance(loop.iter, cst.Call)
        and syntax.called(loop.iter) in ("range", "tl.range")
        and not syntax.starred(loop.iter)
    ]


def _loads(loop: cst.For) -> bool:
    return any(syntax.called(node) in ("tl.load",) or _descriptor(node) for node in syntax.walk(loop.body))


def _descriptor(node: cst.CSTNode) -> bool:
    return isinstance(node, cst.Call) and isinstance(node.func, cst.Attribute) and node.func.attr.value == "load"


def _innermost(loop: cst.For) -> bool:
    return not any(isinstance(node, cst.For) for node in syntax.walk(loop.body))


def _pipeline_sites(module: TritonModule, facts: RewriteFacts) -> Sequence[Site]:
    return [
        Site(partial(_set, module, kernel, call, "num_stages", more), weight(kernel))
        for kernel, loop, call in _ranges(module)
        if _innermost(loop) and _loads(loop) and (more := _more_stages(module, kernel, call))
    ]


def _more_stages(module: TritonModule, kernel: Kernel, call: cst.Call) -> Sequence[int]:
    """List numbers of stages beyond those of the loop: its own, or a product's from the launch."""
    passed, launch = syntax.keyword(call, "num_stages"), module.only_launch(kernel)
    now = syntax.integer(passed.value) if passed is not None else None
    if now is None and launch is not None and kernel.called("tl.dot"):
        now = option(launch, "num_stages", 3, module)
    return [v for v in LOOP_OPTIONS["num_stages"] if v > (now or 1)]


def _unroll_sites(module: TritonModule, facts: RewriteFacts) -> Sequence[Site]:
    return [
        Site(
            partial(_set, module, kernel, call, "loop_unroll_factor", LOOP_OPTIONS["loop_unroll_factor"]),
            weight(kernel),
        )
        for kernel, loop, call in _ranges(module)
        if _innermost(loop)
    ]


def _set(
    module: TritonModule, kernel: Kernel, call: cst.Call, name: str, values: Sequence[int], rng: Random
) -> Change | None:
    passed = syntax.keyword(call, name)
    now = syntax.integer(passed.value) if passed else None
    value = rng.choice([v for v in values if v != now])
    edits = module.edits()
    if syntax.called(call) == "range":
        edits.replace(call.func, "tl.range")
    if passed:
        edits.replace(passed.value, str(value))
    else:
        edits.after(call.args[-1], f", {name}={value}")
    over = ", ".join(syntax.code(a.value) for a in call.args if a.keyword is None)
    was = f"{now} -> {value}" if now else f"{value}"
    why = (
        "loads of later steps overlap with this one"
        if name == "num_stages"
        else "fewer loop ends, more loads in flight"
    )
    return change(edits, f"{name} {was} on the loop over ({over}) in {kernel.name}: {why}")


def _flatten_sites(module: TritonModule, facts: RewriteFacts) -> Sequence[Site]:
    """Find persistent loops over tiles, not yet flattened, whose body is one inner loop with code around it."""
    return [
        Site(partial(_flatten, module, kernel, call), weight(kernel))
        for kernel, loop, call in _ranges(module)
        if sum(isinstance(n, cst.For) for n in syntax.walk(loop.body)) == 1
        and not syntax.keyword(call, "flatten")
        and "tl.num_programs" in syntax.code(call)
    ]


def _flatten(module: TritonModule, kernel: Kernel, call: cst.Call, rng: Random) -> Change | None:
    edits = module.edits()
    if syntax.called(call) == "range":
        edits.replace(call.func, "tl.range")
    edits.after(call.args[-1], ", flatten=True")
    return change(edits, f"persistent loop of {kernel.name} flattened: the next tile's loads overlap this one's end")


def _static_sites(module: TritonModule, facts: RewriteFacts) -> Sequence[Site]:
    sites = []
    for kernel, loop, call in _ranges(module):
        values = module.constants_of(kernel) | _build_constants(kernel, facts)
        counts = [_count(a, values) for a in call.args]
        if all(c is not None for c in counts) and all(a.keyword is None for a in call.args):
            trips = len(range(*[c for c in counts if c is not None]))
            if 1 < trips <= LONGEST_STATIC and _unrolls_small(loop, trips):
                sites.append(Site(partial(_unroll_static, module, kernel, call, trips)))
    return sites


def _build_constants(kernel: Kernel, facts: RewriteFacts) -> dict[str, int]:
    """Look up the values that the parent's build recorded for constexpr parameters."""
    constexpr = {p.name for p in kernel.parameters if p.constexpr}
    return {
        name: int(text)
        for launch in facts.launches
        if launch.kernel == kernel.name
        for name, text in launch.constants
        if name in constexpr and text.isdigit()
    }


def _count(arg: cst.Arg, values: dict[str, int]) -> int | None:
    number = syntax.integer(arg.value)
    return number if number is not None else values.get(syntax.code(arg.value))


def _unrolls_small(loop: cst.For, trips: int) -> bool:
    """Return whether the code stays small when a loop and the loops inside it are unrolled."""
    inner = sum(isinstance(n, cst.For) for n in syntax.walk(loop.body))
    return bool(trips ** (inner + 1) <= 64)


def _unroll_static(module: TritonModule, kernel: Kernel, call: cst.Call, trips: int, rng: Random) -> Change | None:
    edits = module.edits()
    edits.replace(call.func, "tl.static_range")
    return change(edits, f"loop of {trips} steps unrolled at compile time in {kernel.name}")


TRANSFORMATIONS = (
    Transformation(
        "pipeline_loop", "tl.range with num_stages: loads of later steps are issued ahead",
        ("software_pipelining", "async_copy_tma"),
        ("shallow_pipeline", "too_few_bytes_in_flight"), _pipeline_sites, 2.0,
        marks=("tl.range(",), lightens=True,
    ),
    Transformation(
        "unroll_loop", "tl.range with loop_unroll_factor", ("loop_unrolling",),
        ("too_few_bytes_in_flight", "instruction_overhead"), _unroll_sites, 1.2,
        marks=("loop_unroll_factor",), refines=True,
    ),
    Transformation(
        "static_loop", "a short loop with a compile-time count becomes tl.static_range", ("loop_unrolling",),
        ("instruction_overhead", "index_arithmetic"), _static_sites, 1.5,
        marks=("tl.static_range",),
    ),
    Transformation(
        "flatten_loop", "a persistent loop and its inner loop become one pipelined loop",
        ("persistent_kernel", "software_pipelining"),
        ("tail_wave", "shallow_pipeline"), _flatten_sites, 0.6,
        marks=("flatten=True",),
    ),
)  # fmt: skip
