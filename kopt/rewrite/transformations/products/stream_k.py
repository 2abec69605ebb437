"""Share the steps of those tiles that do not fill the multiprocessors: stream-K.

Where the last wave has fewer tiles than multiprocessors, the steps of its tiles and of one wave before it are dealt out
evenly, in order, so that a program may end a tile that another began.  Parts of tiles go to a buffer; a second launch
adds those of each tile in the order of their steps, so that results repeat exactly, and stores the tile.
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from math import ceil, prod
from random import Random

import libcst as cst

from kopt.rewrite.effects import stores_in_loops
from kopt.rewrite.source import syntax
from kopt.rewrite.source.divisibility import definitions
from kopt.rewrite.source.edit import Edits
from kopt.rewrite.source.module import Kernel, Launch, TritonModule, parse, unused
from kopt.rewrite.source.shapes import analyse
from kopt.rewrite.source.statements import tile_ids, with_names
from kopt.rewrite.source.updates import is_float32_zero
from kopt.rewrite.transformation import (
    Change,
    RewriteFacts,
    Site,
    Transformation,
    add_arguments,
    change,
    define_before_grid,
    element_text,
    name_literal,
)
from kopt.rewrite.transformations.products.flat_tiles import Parts, ids_known, needed_of, option_texts, parts_of
from kopt.rewrite.transformations.tiles import PARTS

TAKEN = frozenset({
    "steps", "tiles", "shared", "first_step", "last_step", "segments", "segment", "in_shared", "tile", "step", "begin",
    "end", "part",  "sharer", "first_sharer", "last_sharer", "sharers", "programs_0", "program_0", PARTS,
})  # fmt: skip
"""Names that the kernels need."""
SHARED = """\
tiles = {tiles}
shared = tl.where(tiles % {sharers} == 0, 0, tl.where(tiles > {sharers}, tiles % {sharers} + {sharers}, tiles))
"""
DEALT = """\
first_step = tl.program_id(0).to(tl.int64) * shared * steps // tl.num_programs(0)
last_step = (tl.program_id(0).to(tl.int64) + 1) * shared * steps // tl.num_programs(0)
segments = (tl.cdiv(last_step, steps) - first_step // steps).to(tl.int32)
"""
SEGMENT = """\
in_shared = segment < segments
tile = tl.where(in_shared, first_step // steps + segment,
                shared + tl.program_id(0) + (segment - segments) * tl.num_programs(0)).to(tl.int32)
begin = tl.where(in_shared, tl.maximum(first_step - tile * steps, 0), 0).to(tl.int32)
end = tl.where(in_shared, tl.minimum(last_step - tile * steps, steps), steps).to(tl.int32)
"""
SHARERS = """\
tile = tl.program_id(0)
first_sharer = ((tile.to(tl.int64) * steps + 1) * sharers - 1) // tl.maximum(shared * steps, 1)
last_sharer = ((tile.to(tl.int64) * steps + steps) * sharers - 1) // tl.maximum(shared * steps, 1)
"""


@dataclass(frozen=True, eq=False)
class Sums:
    """The accumulators of a product, each with its dimensions."""

    shapes: Mapping[str, tuple[str, str]]

    @property
    def tile(self) -> tuple[str, str]:
        """Dimensions of the tile, which all accumulators have."""
        return next(iter(self.shapes.values()))

    def part(self, name: str, slot: str) -> str:
        """Write the addresses of a program's part of an accumulator."""
        rows, columns = (dimension if dimension.isidentifier() else f"({dimension})" for dimension in self.shapes[name])
        number = slot if len(self.shapes) == 1 else f"({slot} * {len(self.shapes)} + {list(self.shapes).index(name)})"
        return (
            f"{PARTS} + {number} * ({rows} * {columns}) + tl.arange(0, {rows})[:, None] * {columns} "
            f"+ tl.arange(0, {columns})[None, :]"
        )


def _sites(module: TritonModule, facts: RewriteFacts) -> Sequence[Site]:
    sites = []
    for kernel in module.kernels:
        launch = module.only_launch(kernel)
        if launch is None or launch.grid is None or kernel.autotuned or TAKEN & kernel.names or not launch.call.args:
            continue
        texts = [element_text(launch.grid, axis, launch) for axis in range(len(launch.grid.elements))]
        parts = parts_of(kernel)
        if parts is None or not all(texts) or not ids_known(kernel, len(texts)):
            continue
        if any(p.default is not None for p in kernel.parameters) or _output(kernel, launch) is None:
            continue
        sums = _sums(kernel, parts)
        if sums is not None and all(_passed(launch, text) for text in (*sums.tile, parts.stop, parts.step)):
            weight = _gain(kernel, facts)
            sites.append(Site(partial(_share, module, kernel.name, facts.device.sm_count), weight))
    return sites


def _gain(kernel: Kernel, facts: RewriteFacts) -> float:
    """Weigh the move by the share of the waves that is idle; a kernel whose waves are full has nothing to gain."""
    found = [0.0]
    for launch in facts.launches:
        if launch.kernel == kernel.name:
            tiles, count = prod(launch.grid), facts.device.sm_count
            found.append(ceil(tiles / count) * count / max(tiles, 1) - 1)
    return min(2.0, 0.05 + 4 * max(found))


def _sums(kernel: Kernel, parts: Parts) -> Sums | None:
    """Read the accumulators of a product; None where one does not start at zero, or is no tile of two dimensions."""
    shapes: dict[str, tuple[str, str]] = {}
    for line in parts.starts:
        made = syntax.assigned(line)
        known = analyse(kernel).get(made[1]) if made is not None else None
        if made is None or known is None or known.shape is None or len(known.shape) != 2:
            return None
        if not is_float32_zero(made[1]) or not isinstance(made[1], cst.Call):
            return None
        shapes[made[0]] = (known.shape[0], known.shape[1])
    return Sums(shapes) if len(set(shapes.values())) == 1 else None


def _passed(launch: Launch, dimension: str) -> str | None:
    """Write a dimension of a tile as an expression of the launching function; None where that is not known."""
    node = cst.parse_expression(dimension)
    if not all(name in launch.arguments for name in syntax.names(node)):
        return None
    text = dimension
    for name in syntax.names(node):
        text = re.sub(rf"\b{name}\b", syntax.operand(launch.arguments[name].value), text)
    return text


def _output(kernel: Kernel, launch: Launch) -> str | None:
    """Name the tensor that a kernel stores to."""
    stores = kernel.called("tl.store")
    pointer = syntax.argument(stores[0], 0, "pointer") if len(stores) == 1 else None
    node = pointer.value if pointer is not None else None
    made = definitions(kernel)
    while isinstance(node, cst.BinaryOperation) or (isinstance(node, cst.Name) and node.value in made):
        node = made[node.value] if isinstance(node, cst.Name) else node.left
    passed = launch.arguments.get(node.value) if isinstance(node, cst.Name) else None
    return passed.value.value if passed is not None and isinstance(passed.value, cst.Name) else None


def _share(module: TritonModule, name: str, count: int, rng: Random) -> Change | None:
    named = _with_names(module, name)
    kernel = next((k for k in named.kernels if k.name == name), None) if named is not None else None
    launch = named.only_launch(kernel) if named is not None and kernel is not None else None
    if named is None or kernel is None or launch is None or launch.grid is None:
        return None
    parts = parts_of(kernel)
    sums = _sums(kernel, parts) if parts is not None else None
    steps = _steps(launch, parts) if parts is not None else None
    out = _output(kernel, launch)
    if parts is None or sums is None or out is None or steps is None:
        return None
    edits = named.edits()
    axes = [element_text(launch.grid, axis, launch) or "" for axis in range(len(launch.grid.elements))]
    extents = [f"programs_{axis}" for axis in range(len(axes))]
    finish = unused(f"{name}_finish", syntax.names(named.tree))
    body = _finish_text(edits, parts, sums, extents)
    kept = [p for p in kernel.parameters if re.search(rf"\b{p.name}\b", body)]
    parameters = [syntax.code(p.node).rstrip(", \n") for p in kept] + [PARTS, *extents, "steps", "sharers"]
    edits.statements_before(
        kernel.node.decorators[0], f"@triton.jit\ndef {finish}(\n    {', '.join(parameters)},\n):\n{body}\n\n\n"
    )
    edits.replace_range(kernel.body[0], kernel.body[-1], _body_text(edits, kernel, parts, sums, extents))
    edits.after(kernel.parameters[-1].last, "".join(f", {n}" for n in (PARTS, *extents)))
    taken = syntax.names(launch.function)
    programs, buffer = unused("PROGRAMS", taken), unused("partial", taken)
    size = " * ".join(_passed(launch, dimension) or "" for dimension in sums.tile)
    total = " * ".join(f"({a})" for a in axes)
    define_before_grid(
        edits, launch,
        f"{programs} = {count}\n{buffer} = torch.empty((2 * {programs} * {len(sums.shapes)}, {size}), "
        f"dtype=torch.float32, device={out}.device)",
    )  # fmt: skip
    sharers = f"min({programs}, {total} * {steps})"
    edits.replace(launch.grid.display, f"({sharers},)" if isinstance(launch.grid.display, cst.List) else f"{sharers},")
    added = [(PARTS, buffer), *zip(extents, axes, strict=True)]
    add_arguments(edits, launch, *added)
    dropped = [launch.arguments[p.name] for p in kernel.parameters if p not in kept and p.name in launch.arguments]
    passed = [syntax.code(a).rstrip(", \n") for a in launch.call.args if a not in dropped]
    passed += [f"{key}={text}" for key, text in (*added, ("steps", steps), ("sharers", sharers))]
    edits.statements_after(launch.statement, f"{finish}[(min(2 * {programs}, {total}),)](\n    {', '.join(passed)}\n)")
    return change(
        edits,
        f"{count} programs of {name} share the steps of the tiles that fill no wave, in a fixed order (stream-K); "
        f"{finish} adds the parts",
    )


def _with_names(module: TritonModule, name: str) -> TritonModule | None:
    """Give names to the literals that a launch passes as constants, since two launches pass them from now on."""
    kernel = next(k for k in module.kernels if k.name == name)
    launch = module.only_launch(kernel)
    if launch is None:
        return None
    edits = module.edits()
    for parameter in kernel.parameters:
        if parameter.constexpr and parameter.name in launch.arguments:
            name_literal(edits, launch, parameter.name)
    return parse(edits.text() or "")


def _shared(extents: Sequence[str], sharers: str) -> str:
    return SHARED.format(tiles=" * ".join(extents), sharers=sharers)


def _steps(launch: Launch, parts: Parts) -> str | None:
    """Write how many steps a tile has, as an expression of the launching function; None where that is not known."""
    stop, step = _passed(launch, parts.stop), _passed(launch, parts.step)
    return f"max(1, triton.cdiv({stop}, {step}))" if stop is not None and step is not None else None


def _body_text(edits: Edits, kernel: Kernel, parts: Parts, sums: Sums, extents: Sequence[str]) -> str:
    """Write the statements of the kernel that walks over the steps dealt out to it, and then over whole tiles."""
    rest = "tl.cdiv(tl.maximum(tiles - shared - tl.program_id(0), 0), tl.num_programs(0))"
    inside = [SEGMENT, *tile_ids("tile", "program", len(extents))]
    inside += [edits.moved([s], with_names(s, "program", {})).rstrip("\n") for s in parts.of_tile]
    inside += [edits.moved([s], {}).rstrip("\n") for s in parts.starts]
    step = [f"{syntax.code(parts.loop.target)} = step * {parts.step}"]
    step += [edits.moved([s], {}).rstrip("\n") for s in (*parts.loads, *parts.products)]
    inside.append(f"for step in tl.range({', '.join(['begin', 'end', *option_texts(parts.loop)])}):")
    inside.append(_indented(step))
    whole = [edits.moved([s], with_names(s, "program", {})).rstrip("\n") for s in parts.after]
    inside += ["if end - begin == steps:", _indented(whole), "else:"]
    slots = ["part = tl.program_id(0) * 2 + tl.where(begin == 0, 1, 0)"]
    slots += [f"tl.store({sums.part(name, 'part')}, {name})" for name in sums.shapes]
    inside.append(_indented(slots))
    lines = [edits.moved([s], {}) for s in parts.fixed]
    lines += [
        f"steps = tl.maximum(tl.cdiv({parts.stop}, {parts.step}), 1)",
        _shared(extents, "tl.num_programs(0)"),
        DEALT,
    ]
    lines += [f"for segment in tl.range(0, segments + {rest}):", _indented(inside)]
    return "\n".join(line.rstrip("\n") for line in lines)


def _finish_text(edits: Edits, parts: Parts, sums: Sums, extents: Sequence[str]) -> str:
    """Write the statements of the kernel that adds the parts of a tile, in the order of its steps, and stores it."""
    added = ["part = sharer * 2 + tl.where(sharer == first_sharer, 1, 0)"]
    added += [f"{each} += tl.load({sums.part(each, 'part')})" for each in sums.shapes]
    inside = [edits.moved([s], {}) for s in parts.starts]
    inside += ["for sharer in range(first_sharer.to(tl.int32), last_sharer.to(tl.int32) + 1):", _indented(added)]
    inside += tile_ids("tile", "program", len(extents))
    inside += [edits.moved([s], with_names(s, "program", {})) for s in (*parts.needed, *parts.after)]
    fixed = needed_of(parts.fixed, (*parts.needed, *parts.after))
    lines = [*(edits.moved([s], {}) for s in fixed), _shared(extents, "sharers"), SHARERS]
    lines += ["if (tile < shared) & (last_sharer > first_sharer):", _indented(inside)]
    return _indented(lines)


def _indented(lines: Sequence[str]) -> str:
    return textwrap.indent("\n".join(line.rstrip("\n") for line in lines), "    ")


TRANSFORMATIONS = (
    Transformation(
        "stream_k", "programs share the steps of the tiles that do not fill a wave; a second launch joins the parts",
        ("split_k_reduce", "persistent_kernel"), ("tail_wave", "too_few_programs"),
        _sites, 4.0, marks=("first_sharer",), effect=stores_in_loops,
    ),
)  # fmt: skip
