"""Flatten tiles and steps into one loop: a fixed number of programs, whose loads run ahead into the next tile.

A persistent loop over tiles with an inner loop over steps drains its pipeline at the end of every tile.  Here one loop
counts tiles times steps.  Loads and products count tiles and steps for themselves, so that the compiler's pipeline
loads the first steps of the next tile while the last ones of this tile are computed and its result is stored.
"""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from random import Random

import libcst as cst

from kopt.rewrite.effects import stores_in_loops
from kopt.rewrite.host_values import count_tiles
from kopt.rewrite.source import syntax
from kopt.rewrite.source.module import Grid, Kernel, Launch, TritonModule, unused
from kopt.rewrite.source.shapes import analyse
from kopt.rewrite.source.statements import is_simple, names_read, names_stored, program_axis, tile_ids, with_names
from kopt.rewrite.source.updates import additions, initial, uses
from kopt.rewrite.transformation import (
    Change,
    RewriteFacts,
    Site,
    Transformation,
    add_arguments,
    add_parameter,
    change,
    define_before_grid,
    element_text,
    named_axes,
)

TAKEN = frozenset({
    "steps", "load_tile", "load_step", "last_step", "done_tile", "done_steps", "programs_0", "program_0",
    "done_program_0",
})  # fmt: skip
"""Names that the flat loop needs."""


@dataclass(frozen=True, eq=False)
class Parts:
    """A kernel that accumulates over one loop, taken apart."""

    fixed: tuple[cst.BaseStatement, ...]
    """Statements before the loop that are the same for every tile."""
    of_tile: tuple[cst.BaseStatement, ...]
    """Statements before the loop that depend on the tile."""
    starts: tuple[cst.SimpleStatementLine, ...]
    """Statements that give the accumulators their first values."""
    loop: cst.For
    stop: str
    step: str
    loads: tuple[cst.SimpleStatementLine, ...]
    """Statements of the loop that do not accumulate."""
    products: tuple[cst.SimpleStatementLine, ...]
    """Statements of the loop that accumulate."""
    after: tuple[cst.BaseStatement, ...]
    """Statements after the loop."""
    needed: tuple[cst.BaseStatement, ...]
    """Those of `of_tile` that the statements after the loop need."""


def _sites(module: TritonModule, facts: RewriteFacts) -> Sequence[Site]:
    """Find products with more tiles than the device has multiprocessors: else no program has a next tile."""
    sites = []
    for kernel in module.kernels:
        launch = module.only_launch(kernel)
        if launch is None or launch.grid is None or kernel.autotuned or TAKEN & kernel.names or not launch.call.args:
            continue
        texts = [element_text(launch.grid, axis, launch) for axis in range(len(launch.grid.elements))]
        parts = parts_of(kernel)
        programs = facts.device.sm_count
        several = (count_tiles(launch, module, facts) or programs + 1) > programs
        if several and parts is not None and all(texts) and ids_known(kernel, len(texts)):
            sites.append(Site(partial(_flatten, module, kernel, launch, launch.grid, parts, programs)))
    return sites


def ids_known(kernel: Kernel, rank: int) -> bool:
    """Return whether a kernel asks for its own program ids alone, on axes of a grid of this rank."""
    axes = [program_axis(call) for call in kernel.called("tl.program_id")]
    return bool(axes) and all(a is not None and a < rank for a in axes) and not kernel.called("tl.num_programs")


def parts_of(kernel: Kernel) -> Parts | None:
    """Take a kernel apart; None where its loop does more than load and accumulate, or where a part is not plain."""
    body = list(kernel.body)
    loops = [s for s in body if isinstance(s, cst.For)]
    if len(loops) != 1 or len(kernel.loops) != 1 or not kernel.called("tl.dot"):
        return None
    (loop,) = loops
    steps = [s for s in loop.body.body if isinstance(s, cst.SimpleStatementLine)]
    before, after = body[: body.index(loop)], body[body.index(loop) + 1 :]
    found = syntax.match("F_(0, STOP_, STEP_)", _plain(loop.iter))
    if found is None or not all(is_simple(s) for s in (*before, *loop.body.body, *after)):
        return None
    accumulators = additions(loop)
    starts = [initial(kernel, name, loop) for name in accumulators]
    if not accumulators or any(s is None or not _independent(kernel, s) for s in starts):
        return None
    products = tuple(s for s in steps if _target(s) in accumulators)
    loads = tuple(s for s in steps if _target(s) not in accumulators)
    if not separate(kernel, loop, loads, products, set(accumulators), after):
        return None
    rest = [s for s in before if s not in starts]
    of_tile = tuple(s for s in rest if not _independent(kernel, s))
    fixed = tuple(s for s in rest if s not in of_tile)
    if any(not _masked(call) for s in loads for call in syntax.walk(s) if syntax.called(call) == "tl.load"):
        return None
    return Parts(
        fixed, of_tile, tuple(s for s in starts if s is not None), loop, syntax.code(found["STOP_"]),
        syntax.code(found["STEP_"]), loads, products, tuple(after), needed_of(of_tile, after),
    )  # fmt: skip


def _plain(ranged: cst.BaseExpression) -> cst.BaseExpression:
    """Return a call of `range` or `tl.range` without its keywords; anything else as it is."""
    if isinstance(ranged, cst.Call) and syntax.called(ranged) in ("range", "tl.range"):
        kept = [a for a in ranged.args if a.keyword is None]
        return ranged.with_changes(func=cst.Name("F_"), args=kept)
    return cst.Name("other")


def _target(statement: cst.CSTNode) -> str:
    names = names_stored(statement)
    return next(iter(names)) if len(names) == 1 else ""


def _independent(kernel: Kernel, statement: cst.CSTNode) -> bool:
    """Return whether a statement is the same for every program."""
    values = [n.value for n in syntax.walk(statement) if isinstance(n, (cst.Assign, cst.AugAssign))]
    known = [analyse(kernel).get(v) for v in values]
    return bool(values) and all(v is not None and not v.programs for v in known)


def _masked(call: cst.CSTNode) -> bool:
    return isinstance(call, cst.Call) and syntax.argument(call, 1, "mask") is not None


def separate(
    kernel: Kernel,
    loop: cst.For,
    loads: Sequence[cst.SimpleStatementLine],
    products: Sequence[cst.SimpleStatementLine],
    accumulators: set[str],
    after: Sequence[cst.BaseStatement],
) -> bool:
    """Return whether the loop hands on its accumulators alone, and its loads depend on nothing that it carries."""
    made = set[str]()
    stored = {name for s in loads for name in names_stored(s)}
    for statement in loads:
        if (names_read(statement) & (stored - made)) or names_read(statement) & accumulators:
            return False
        if any(isinstance(n, (cst.AugAssign, cst.Expr)) for n in statement.body):
            return False
        made |= names_stored(statement)
    handed = (stored | {syntax.code(loop.target)}) & frozenset().union(*(names_read(s) for s in after))
    known = {n for s in kernel.body if s is not loop for n in names_stored(s)}
    return (
        not handed
        and not stored & known
        and not accumulators & {n for s in after for n in names_stored(s)}
        and all(uses(loop.body, name) == uses_in(products, name) for name in accumulators)
    )


def uses_in(statements: Sequence[cst.CSTNode], name: str) -> int:
    """Count a name in statements."""
    return sum(uses(s, name) for s in statements)


def needed_of(
    of_tile: Sequence[cst.BaseStatement], after: Sequence[cst.BaseStatement]
) -> tuple[cst.BaseStatement, ...]:
    """Find the statements that later ones need."""
    wanted = set().union(*(names_read(s) for s in after))
    kept = []
    for statement in reversed(of_tile):
        if names_stored(statement) & wanted:
            kept.append(statement)
            wanted |= names_read(statement)
    return tuple(reversed(kept))


def _flatten(
    module: TritonModule,
    kernel: Kernel,
    launch: Launch,
    grid: Grid,
    parts: Parts,
    multiprocessors: int,
    rng: Random,
) -> Change | None:
    count = multiprocessors * rng.choice((1, 1, 1, 2))
    edits = module.edits()
    axes = named_axes(edits, launch, grid)
    rank = len(axes)
    tiles = " * ".join(f"programs_{axis}" for axis in range(rank))
    names = {n: kernel.fresh(f"done_{n}") for s in parts.needed for n in names_stored(s)}
    lines = [edits.moved([s], {}) for s in (*parts.fixed, *parts.starts)]
    lines += [
        f"steps = tl.maximum(tl.cdiv({parts.stop}, {parts.step}), 1)",
        "# Loads run ahead into the next tile, so they count tiles and steps for themselves.",
        "load_tile = tl.program_id(0)", "load_step = 0", "done_tile = tl.program_id(0)", "done_steps = 0",
        f"for _ in {_ranged(parts.loop, f'tl.cdiv({tiles} - tl.program_id(0), tl.num_programs(0)) * steps')}:",
    ]  # fmt: skip
    inside = tile_ids("load_tile", "program", rank)
    inside += [edits.moved([s], with_names(s, "program", {})) for s in parts.of_tile]
    inside.append(f"{syntax.code(parts.loop.target)} = load_step * {parts.step}")
    inside += [edits.moved([s], {}) for s in parts.loads]
    inside += [
        "last_step = load_step == steps - 1",
        "load_tile = tl.where(last_step, load_tile + tl.num_programs(0), load_tile)",
        "load_step = tl.where(last_step, 0, load_step + 1)",
    ]
    inside += [edits.moved([s], {}) for s in parts.products]
    inside += ["done_steps += 1", "if done_steps == steps:"]
    ending = tile_ids("done_tile", "done_program", rank)
    ending += [edits.moved([s], with_names(s, "done_program", names)) for s in (*parts.needed, *parts.after)]
    ending += [edits.moved([s], {}) for s in parts.starts]
    ending += ["done_tile += tl.num_programs(0)", "done_steps = 0"]
    inside.append(textwrap.indent("\n".join(ending), "    "))
    lines.append(textwrap.indent("\n".join(inside), "    "))
    edits.replace_range(kernel.body[0], kernel.body[-1], "\n".join(lines))
    programs = unused("PROGRAMS", syntax.names(launch.function))
    define_before_grid(edits, launch, f"{programs} = {count}")
    for axis in range(rank):
        add_parameter(edits, kernel, f"programs_{axis}")
    total = " * ".join(f"({a})" for a in axes)
    edits.replace(grid.display, f"(min({programs}, {total}),)")
    add_arguments(edits, launch, *((f"programs_{axis}", text) for axis, text in enumerate(axes)))
    return change(
        edits,
        f"{count} programs of {kernel.name} walk tiles and steps in one flat loop: the first loads of a tile run while "
        "the tile before it is finished",
    )


def _ranged(loop: cst.For, count: str) -> str:
    """Write the flat loop's range, with the options of the loop that it replaces."""
    return f"tl.range({', '.join(['0', count, *option_texts(loop)])})"


def option_texts(loop: cst.For) -> list[str]:
    """Write the options of a loop that another loop over its steps can take."""
    passed = loop.iter.args if isinstance(loop.iter, cst.Call) else ()
    texts = [syntax.code(a).rstrip(", ") for a in passed if a.keyword is not None]
    return [text for text in texts if not text.startswith(("flatten", "loop_unroll_factor"))]


TRANSFORMATIONS = (
    Transformation(
        "flat_tiles", "as many programs as the device has multiprocessors walk tiles and steps in one flat loop",
        ("persistent_kernel", "software_pipelining"), ("tail_wave", "shallow_pipeline", "tensor_cores_idle"),
        _sites, 4.0, marks=("done_steps",), effect=stores_in_loops,
    ),
)  # fmt: skip
