"""Share the windows of a pooling kernel between neighbouring outputs, line by line of the input.

A program that takes a run of flat outputs reads every element of every window by itself: narrow loads, each with its
own masks.  Here a program takes whole lines of outputs instead.  The loops over the outer axes of the window combine
whole lines of the input, which are loaded in full vectors; the loop over the innermost axis then combines elements of
the line that results, in registers: neighbours in a thread, or one shuffle away.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from math import prod
from random import Random

import libcst as cst

from kopt.rewrite.effects import wide_load_share
from kopt.rewrite.source import syntax
from kopt.rewrite.source.edit import Edits
from kopt.rewrite.source.module import Kernel, Launch, TritonModule, unused
from kopt.rewrite.source.pooling import Outputs, Window, loop_count, pooling
from kopt.rewrite.source.statements import variables
from kopt.rewrite.transformation import (
    Change,
    RewriteFacts,
    Site,
    Transformation,
    add_arguments,
    add_parameter,
    change,
    define_before_grid,
    largest_argument,
)

VECTOR = 16
"""Bytes of a line that one thread keeps next to each other: as many as one instruction loads."""
PER_THREAD = 16
"""Elements of the lines' tile that a thread starts with."""
WIDEST = 4096
"""Most elements of a line that one program may take."""
MOST_LINES = 27
"""Most lines of the input that one program loads at once."""
TAKEN = frozenset({"WIDTH", "COLUMNS", "reach", "line", "line_mask"})
"""Names that a kernel gets."""
SLIDE = """\
@triton.jit
def {name}(
    line, LINES: tl.constexpr, WIDTH: tl.constexpr, COLUMNS: tl.constexpr,
    KERNEL: tl.constexpr, STRIDE: tl.constexpr, PADDING: tl.constexpr, DILATION: tl.constexpr,
):
    tl.static_assert(PADDING >= 0)
    if {span} % STRIDE == 0:
        BLOCKS: tl.constexpr = WIDTH // {span}
        bits = tl.reshape(line.to(tl.int32, bitcast=True), (LINES, BLOCKS, {span}))
        element = tl.arange(0, {span})[None, None, :]
        block = tl.arange(0, BLOCKS)[None, :]
        output = tl.arange(0, {span} // STRIDE)[None, None, :]
        whole = tl.full((LINES, BLOCKS, {span} // STRIDE), {identity}, tl.float32)
        for number in tl.static_range({span} // STRIDE):
            combined = tl.full((LINES, BLOCKS), {identity}, tl.float32)
            for tap in tl.static_range(KERNEL):
                place = number * STRIDE + tap * DILATION + ({span} - 1) * PADDING
                shift = place // {span} - PADDING
                moved = block + shift
                inside = (moved >= 0) & (moved < BLOCKS)
                found = tl.sum(tl.where(element == place % {span}, bits, 0), axis=2)
                if shift != 0:
                    near = tl.broadcast_to(tl.where(inside, moved, 0), (LINES, BLOCKS))
                    found = tl.gather(found, near, 1)
                value = tl.where(inside, found.to(tl.float32, bitcast=True), {identity})
                combined = {combined}
            whole = tl.where(output == number, combined[:, :, None], whole)
        slid = tl.reshape(whole, (LINES, COLUMNS))
    else:
        slid = tl.full((LINES, COLUMNS), {identity}, tl.float32)
        for tap in tl.static_range(KERNEL):
            place = tl.arange(0, COLUMNS)[None, :] * STRIDE - PADDING + tap * DILATION
            inside = (place >= 0) & (place < WIDTH)
            near = tl.broadcast_to(tl.where(inside, place, 0), (LINES, COLUMNS))
            value = tl.where(inside, tl.gather(line, near, 1), {identity})
            slid = {slid}
    return slid


"""


def _sites(module: TritonModule, facts: RewriteFacts) -> Sequence[Site]:
    sites = []
    for kernel in module.kernels:
        launch = module.only_launch(kernel)
        if launch is None or launch.grid is None or launch.grid.meta or kernel.autotuned:
            continue
        read = None if TAKEN & kernel.names else pooling(module, kernel, launch)
        width = largest_argument(launch, read[1].size, facts) if read is not None else None
        if read is not None and (width is None or width <= WIDEST):
            sites.append(Site(partial(_share, module, kernel, launch, *read, facts)))
    return sites


def _share(
    module: TritonModule,
    kernel: Kernel,
    launch: Launch,
    outputs: Outputs,
    window: Window,
    facts: RewriteFacts,
    rng: Random,
) -> Change | None:
    passed = [launch.arguments.get(name) for name in (window.size, outputs.width)]
    if passed[0] is None or passed[1] is None:
        return None
    edits = module.edits()
    slide = unused("slide_window", syntax.names(module.tree))
    _rewrite_kernel(edits, kernel, outputs, window, slide)
    line, output_line = (syntax.operand(p.value) for p in passed if p is not None)
    stride = launch.arguments[window.stride].value if window.stride in launch.arguments else None
    step = syntax.operand(stride) if stride is not None else window.stride
    span = max(1, VECTOR // facts.item_bytes)
    whole = f"triton.next_power_of_2(max({line}, {output_line} * {step}, {span}))"
    lines = _lines(largest_argument(launch, window.size, facts) or 256, launch, rng)
    _unroll(edits, launch, window, facts)
    counted = syntax.match("triton.cdiv(N_, B_)", outputs.element)
    assert counted is not None
    block = outputs.block.variable or unused("LINES", syntax.names(launch.function))
    if outputs.block.variable:
        edits.replace(outputs.block.literal, str(lines))
    else:
        define_before_grid(edits, launch, f"{block} = {lines}")
        edits.replace(launch.arguments[outputs.block.name].value, block)
    edits.replace(counted["N_"], f"triton.cdiv({syntax.code(counted['N_'])}, {output_line})")
    if not outputs.block.variable:
        edits.replace(counted["B_"], block)
    sizes = [unused(name, syntax.names(launch.function)) for name in ("WIDTH", "COLUMNS")]
    columns = f"{sizes[0]} // {step} if {span} % {step} == 0 else triton.next_power_of_2({output_line})"
    define_before_grid(edits, launch, f"{sizes[0]} = {whole}\n{sizes[1]} = {columns}")
    add_arguments(edits, launch, *zip(("WIDTH", "COLUMNS"), sizes, strict=True))
    helper = SLIDE.format(
        name=slide, span=span, identity=window.identity,
        combined=window.combination.format(acc="combined", x="value"),
        slid=window.combination.format(acc="slid", x="value"),
    )  # fmt: skip
    edits.statements_before(kernel.node.decorators[0], helper.rstrip("\n") + "\n\n")
    return change(
        edits,
        f"{kernel.name} takes {lines} whole lines of outputs: loads of 16 bytes along lines of the input, whose "
        "elements neighbouring windows share in registers",
    )


def _unroll(edits: Edits, launch: Launch, window: Window, facts: RewriteFacts) -> None:
    """Unroll the outer loops where they are known to be short, so that all their loads are under way at once."""
    outer = [n for n in syntax.walk(window.nest) if isinstance(n, cst.For) and n is not window.inner]
    counts = [
        int(c) if c.isdigit() else largest_argument(launch, c, facts) for loop in outer if (c := loop_count(loop))
    ]
    if outer and None not in counts and prod(c for c in counts if c) <= MOST_LINES:
        for loop in outer:
            if isinstance(loop.iter, cst.Call):
                edits.replace(loop.iter.func, "tl.static_range")


def _lines(width: int, launch: Launch, rng: Random) -> int:
    warps = launch.options.get("num_warps")
    threads = 32 * ((syntax.integer(warps.value) if warps else 4) or 4)
    fitting = max(1, PER_THREAD * threads // (1 << (width - 1).bit_length()))
    return max(1, fitting * rng.choice((1, 1, 2)) // rng.choice((1, 2)))


def _rewrite_kernel(edits: Edits, kernel: Kernel, outputs: Outputs, window: Window, slide: str) -> None:
    block = outputs.block.name
    holder = _statement(kernel.body, outputs.value)
    edits.statements_before(
        holder,
        f"line = {outputs.program} * {block} + tl.arange(0, {block})[:, None]\nreach = tl.arange(0, WIDTH)[None, :]",
    )
    edits.replace(outputs.value, f"line * {outputs.width} + tl.arange(0, COLUMNS)[None, :]")
    masks = {p[0] for n in kernel.nodes if isinstance(n, cst.Assign) and (p := syntax.assigned(n))
             and any(p[1] is b for b in outputs.bounds)}  # fmt: skip
    nest = syntax.walk(window.nest)
    texts: dict[cst.CSTNode, str] = dict(outputs.parts)
    for bound in outputs.bounds:
        within = any(bound is n for n in nest)
        texts[bound] = "line_mask" if within else (
            f"({syntax.code(bound)}) & (tl.arange(0, COLUMNS)[None, :] < {outputs.width})")  # fmt: skip
    texts |= {n: "line_mask" for n in variables(window.nest) if n.value in masks}
    texts |= {n: "reach" for n in variables(window.inner) if n.value == window.place}
    inner = set(map(id, syntax.walk(window.inner)))
    for node, text in texts.items():
        if id(node) not in inner:
            edits.replace(node, text)
    kept = [s for s in window.inner.body.body if not ((p := syntax.assigned(s)) and p[0] == window.place)]
    lines = "\n".join(edits.moved([s], texts) for s in kept)
    edits.replace_statement(window.inner, lines)
    edits.replace(window.start.body[0], f"{window.accumulator} = tl.full(({block}, WIDTH), {window.identity}, "
                  "tl.float32)")  # fmt: skip
    edits.statements_before(window.nest, f"line_mask = line * {outputs.width} < {outputs.count}")
    constants = ", ".join((window.taps, window.stride, window.padding, window.dilation))
    acc = window.accumulator
    edits.statements_after(window.nest, f"{acc} = {slide}({acc}, {block}, WIDTH, COLUMNS, {constants})")
    add_parameter(edits, kernel, "WIDTH", constexpr=True, default="1")
    add_parameter(edits, kernel, "COLUMNS", constexpr=True, default="1")


def _statement(body: Sequence[cst.CSTNode], node: cst.CSTNode) -> cst.CSTNode:
    return next(s for s in body if any(n is node for n in syntax.walk(s)))


TRANSFORMATIONS = (
    Transformation(
        "shared_windows", "programs take whole lines of outputs, so that the windows of a pooling share what they load",
        ("vectorized_load", "register_tiling"),
        ("redundant_traffic", "narrow_loads", "instruction_overhead", "index_arithmetic", "masked_inner_loop",
         "too_few_bytes_in_flight"),
        _sites, 9.0, marks=("slide_window",), effect=wide_load_share,
    ),
)  # fmt: skip
