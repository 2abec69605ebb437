"""Pipeline rows: programs walk over rows, and the loads of the next row are under way while this one is computed.

It applies to kernels whose program takes whole rows in one tile.  Loops over the row that have a single step then
become straight code, so that the compiler sees one loop, over rows, and pipelines its loads; what is the same for all
rows, such as weights, is loaded once before the loop.  Rows too long for one tile go to the kernel as it was.
"""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from functools import partial
from math import ceil, prod
from random import Random

import libcst as cst

from kopt.rewrite.effects import asynchronous_copies
from kopt.rewrite.source import syntax
from kopt.rewrite.source.divisibility import definitions
from kopt.rewrite.source.edit import Edits
from kopt.rewrite.source.module import Kernel, Launch, TritonModule, unused
from kopt.rewrite.source.shapes import analyse
from kopt.rewrite.source.statements import names_stored, program_axis, tile_ids, with_names
from kopt.rewrite.source.straight import Rows, whole_rows
from kopt.rewrite.transformation import Change, RewriteFacts, Site, Transformation, change, element_text

TAKEN = frozenset({"tile", "program_0", "programs_0", "programs_1"})
STAGES = (2, 2, 3)
PER_MULTIPROCESSOR = (1, 2, 2, 3, 4)
"""Programs per multiprocessor to choose from."""
SHARPNESS = 12
"""Exponent that turns the share of busy programs into a weight."""


def _sites(module: TritonModule, facts: RewriteFacts) -> Sequence[Site]:
    sites = []
    for kernel in module.kernels:
        launch = module.only_launch(kernel)
        if launch is None or launch.grid is None or kernel.autotuned or TAKEN & kernel.names:
            continue
        axes = [element_text(launch.grid, axis, launch) for axis in range(len(launch.grid.elements))]
        known = all(program_axis(c) in range(len(axes)) for c in kernel.called("tl.program_id"))
        rows = _rows(kernel, launch) if known and kernel.called("tl.program_id") else None
        if rows is not None and all(axes) and not kernel.called("tl.num_programs", "tl.dot"):
            texts = [text for text in axes if text]
            counts = _counts(kernel, facts)
            sites.append(Site(partial(_pipeline, module, kernel, launch, texts, rows, counts)))
    return sites


def _rows(kernel: Kernel, launch: Launch) -> Rows | None:
    """Read a kernel as straight code on whole rows; None where it is none, or does not work on rows."""
    rows = whole_rows(kernel, launch)
    reduces = any(syntax.called(c) in ("tl.sum", "tl.max", "tl.min") for c in kernel.calls)
    return rows if rows is not None and (reduces or rows.condition) else None


def _counts(kernel: Kernel, facts: RewriteFacts) -> dict[int, float]:
    """List numbers of programs to choose from, each with a weight: the share of the time in which all are busy."""
    multiprocessors = facts.device.sm_count
    tiles = min((prod(b.grid) for b in facts.launches if b.kernel == kernel.name), default=0)
    found = dict[int, float]()
    for programs in PER_MULTIPROCESSOR:
        count = multiprocessors * programs
        busy = tiles / (ceil(tiles / count) * count) if tiles else 1.0
        found[count] = found.get(count, 0.0) + busy**SHARPNESS
    return found


def _hoisted(kernel: Kernel, rows: Rows, loads: bool) -> list[cst.SimpleStatementLine]:
    """Find the statements that are the same for all rows, in source order."""
    once = definitions(kernel)
    written = {_base(c.args[0].value) for c in kernel.called("tl.store")}
    hoisted: list[cst.SimpleStatementLine] = []
    fixed = {p.name for p in kernel.parameters} | {v for _, v in rows.statements if v} | {"tl", "float", "None"}
    for line, _ in rows.statements:
        pair = syntax.assigned(line)
        value = analyse(kernel).get(pair[1]) if pair is not None else None
        if pair is None or value is None or value.programs or pair[0] not in once:
            continue
        called = {syntax.called(c) for c in syntax.walk(pair[1]) if isinstance(c, cst.Call)}
        reads = "tl.load" in called
        if reads and not (loads and all(_base(c.args[0].value) not in written for c in syntax.walk(pair[1])
                                        if isinstance(c, cst.Call) and syntax.called(c) == "tl.load")):  # fmt: skip
            continue
        if "tl.program_id" not in called and syntax.names(pair[1]) <= fixed:
            fixed.add(pair[0])
            hoisted.append(line)
    return hoisted


def _base(pointer: cst.BaseExpression) -> str:
    while isinstance(pointer, cst.BinaryOperation):
        pointer = pointer.left
    return syntax.code(pointer)


def _pipeline(
    module: TritonModule,
    kernel: Kernel,
    launch: Launch,
    axes: Sequence[str],
    rows: Rows,
    counts: Mapping[int, float],
    rng: Random,
) -> Change | None:
    stages = rng.choice(STAGES)
    (count,) = rng.choices(list(counts), list(counts.values()))
    hoisted = _hoisted(kernel, rows, loads=rng.random() < 0.7)
    ids = tile_ids("tile", "program", len(axes), last_first=rng.random() < 0.5)
    edits = module.edits()
    taken = syntax.names(module.tree)
    name = unused(f"{kernel.name}_pipelined", taken)
    text = _kernel_text(edits, kernel, rows, hoisted, name, stages, ids)
    if rows.condition:
        edits.statements_before(kernel.node.decorators[0], text + "\n")
    else:
        edits.replace_range(kernel.node.decorators[0], kernel.node, text)
    total = " * ".join(f"({a})" for a in axes)
    call = _call_text(launch, name, f"(min({count}, {total}),)", axes)
    if rows.condition:
        old = edits.moved([launch.statement], {})
        edits.replace_statement(
            launch.statement,
            f"if {rows.condition}:\n{textwrap.indent(call, '    ')}\nelse:\n{textwrap.indent(old, '    ')}",
        )
    else:
        edits.replace_statement(launch.statement, call)
    return change(
        edits,
        f"{count} programs of {kernel.name} walk over rows in a pipeline of {stages} stages: the next row is loaded "
        "while this one is computed",
    )


def _kernel_text(
    edits: Edits,
    kernel: Kernel,
    rows: Rows,
    hoisted: Sequence[cst.SimpleStatementLine],
    name: str,
    stages: int,
    ids: Sequence[str],
) -> str:
    """Write the pipelined kernel."""
    default = " = 1" if any(p.default is not None for p in kernel.parameters) else ""
    extents = [f"programs_{axis}" for axis in range(len(ids))]
    parameters = [syntax.code(p.node).rstrip(", \n") for p in kernel.parameters] + [e + default for e in extents]
    fixed = {n for line in hoisted for n in names_stored(line)}
    before = [f"{variable} = 0" for variable in rows.variables]
    inside = [*ids]
    for line, _ in rows.statements:
        text = edits.moved([line], with_names(line, "program", {}))
        if line in hoisted:
            before += [text] if text not in before else []
        elif not names_stored(line) & fixed:
            inside.append(text)
    ranged = f"tl.range(tl.program_id(0), {' * '.join(extents)}, tl.num_programs(0), num_stages={stages})"
    body = "\n".join([*before, f"for tile in {ranged}:", textwrap.indent("\n".join(inside), "    ")])
    return f"@triton.jit\ndef {name}(\n    {', '.join(parameters)},\n):\n{textwrap.indent(body, '    ')}\n"


def _call_text(launch: Launch, name: str, grid: str, axes: Sequence[str]) -> str:
    """Write the launch of the pipelined kernel."""
    passed = [syntax.code(a).rstrip(", \n") for a in launch.call.args]
    passed += [f"programs_{axis}={text}" for axis, text in enumerate(axes)]
    return f"{name}[{grid}](\n    {', '.join(passed)}\n)"


TRANSFORMATIONS = (
    Transformation(
        "pipelined_rows", "programs walk over whole rows, and load the next row while they compute this one",
        ("persistent_kernel", "software_pipelining", "async_copy_tma"),
        ("too_few_bytes_in_flight", "shallow_pipeline", "tail_wave", "redundant_traffic"),
        _sites, 6.0, marks=("_pipelined",), effect=asynchronous_copies,
    ),
)  # fmt: skip
