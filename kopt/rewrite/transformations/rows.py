"""Process several rows per program: each value of a one-row program gets the rows as its first dimension.

Scalars that vary with the program become columns `(ROWS, 1)`, tiles `(BLOCK,)` become `(1, BLOCK)` or `(ROWS, BLOCK)`,
reductions go along the second dimension.  Operands shared by the rows (the vector of a matrix-vector product, the
weights of a normalisation) are then loaded once for all of them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from math import prod
from random import Random

import libcst as cst

from kopt.rewrite.effects import wide_load_share
from kopt.rewrite.limits import largest_tile
from kopt.rewrite.source import syntax
from kopt.rewrite.source.edit import Edits
from kopt.rewrite.source.module import Grid, Kernel, Launch, TritonModule, unused
from kopt.rewrite.source.shapes import ELEMENTWISE, FILLS, Abstract, analyse
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
)

LOWERED = frozenset({"tl.sum", "tl.max", "tl.min"})
"""Reductions that can go along the second dimension."""
PLAIN = frozenset({"tl.program_id", "tl.num_programs", "tl.arange", "tl.load", "tl.store", "range", "tl.range",
                   "tl.static_range", "float", "min", "max"})  # fmt: skip
"""Calls beside fills and elementwise functions that do the same for a tile of rows."""
VECTOR = 16
"""Bytes that a thread loads at once at most."""
ENOUGH_WARPS = 16
"""Warps of a multiprocessor that keep enough loads under way; fewer wide loads are no better than many narrow ones."""


def _sites(module: TritonModule, facts: RewriteFacts) -> Sequence[Site]:
    sites = []
    for kernel in module.kernels:
        launch = module.only_launch(kernel)
        if launch is None or launch.grid is None:
            continue
        for axis in range(len(launch.grid.elements)):
            rows = element_text(launch.grid, axis, launch)
            if rows is not None and liftable(kernel, axis):
                apply = partial(_lift, module, kernel, launch, launch.grid, axis, rows, facts)
                sites.append(Site(apply, 1.0 if kernel.loops else 0.3))
    return sites


def liftable(kernel: Kernel, axis: int) -> bool:
    """Return whether everything that a kernel does with one row along a grid axis can be done with a tile of rows."""
    abstract_of = analyse(kernel)
    programs = [c for c in kernel.called("tl.program_id") if _axis(c) == axis]
    if len(programs) != 1 or any(_axis(c) == axis for c in kernel.called("tl.num_programs")):
        return False
    return (
        not any(isinstance(n, (cst.While, cst.Return, cst.Subscript, cst.Lambda, cst.IfExp)) for n in kernel.nodes)
        and all(_known_call(call) for call in kernel.calls)
        and all(value.shape is not None and len(value.shape) <= 1 for value in _values(abstract_of))
        and not _tiled(kernel, abstract_of, axis)
        and _control_is_common(kernel, abstract_of, axis)
        and all(_accessible(call, abstract_of, axis) for call in kernel.called("tl.load", "tl.store"))
        and carried(kernel, abstract_of) is not None
    )


def _axis(call: cst.Call) -> int | None:
    passed = syntax.argument(call, 0, "axis")
    return syntax.integer(passed.value) if passed else 0


def _values(abstract_of: Mapping[cst.CSTNode, Abstract]) -> list[Abstract]:
    """List what counts as a value: tuples and lists (shapes of fills) do not."""
    return [v for n, v in abstract_of.items() if not isinstance(n, (cst.Tuple, cst.List, cst.Attribute))]


def _known_call(call: cst.Call) -> bool:
    name = syntax.called(call)
    if syntax.starred(call):
        return False
    if name in LOWERED:
        axis = syntax.argument(call, 1, "axis")
        return len(call.args) <= 2 and (axis is None or syntax.code(axis.value) in ("0", "None"))
    if isinstance(call.func, cst.Attribute) and call.func.attr.value == "to":
        return True
    return name in PLAIN or name in FILLS or name in ELEMENTWISE or name.startswith("tl.math.")


def _tiled(kernel: Kernel, abstract_of: Mapping[cst.CSTNode, Abstract], axis: int) -> bool:
    """Return whether a program already takes a run of elements along this axis: `program * BLOCK + arange(BLOCK)`."""
    constexpr = {p.name for p in kernel.parameters if p.constexpr}
    for node in kernel.nodes:
        if isinstance(node, cst.BinaryOperation) and isinstance(node.operator, cst.Multiply):
            sides = {syntax.code(node.left), syntax.code(node.right)}
            if node in abstract_of and axis in abstract_of[node].programs and sides & constexpr:
                return True
    return False


def _control_is_common(kernel: Kernel, abstract_of: Mapping[cst.CSTNode, Abstract], axis: int) -> bool:
    """Return whether no loop bound and no branch varies with the row."""
    tests = [n.test for n in kernel.nodes if isinstance(n, cst.If)]
    bounds = [a.value for loop in kernel.loops if isinstance(loop.iter, cst.Call) for a in loop.iter.args]
    if any(not isinstance(loop.iter, cst.Call) for loop in kernel.loops):
        return False
    return all(n not in abstract_of or axis not in abstract_of[n].programs for n in (*tests, *bounds))


def _accessible(call: cst.Call, abstract_of: Mapping[cst.CSTNode, Abstract], axis: int) -> bool:
    """Return whether a load or store can take several rows: its pointer varies with the row, or a load not at all."""
    pointer = syntax.argument(call, 0, "pointer")
    if pointer is None or pointer.value not in abstract_of:
        return False
    if axis in abstract_of[pointer.value].programs:
        return True
    rest = [a.value for a in call.args[1:] if a.value in abstract_of]
    return syntax.called(call) == "tl.load" and not any(axis in abstract_of[value].programs for value in rest)


def carried(kernel: Kernel, abstract_of: Mapping[cst.CSTNode, Abstract]) -> dict[cst.CSTNode, str] | None:
    """Lift the initial values of scalars that loops carry to their new text; None when one is not a float."""
    lifted: dict[cst.CSTNode, str] = {}
    updated = _updated(kernel)
    for statement in kernel.nodes:
        pair = syntax.assigned(statement) if isinstance(statement, cst.Assign) else None
        if pair is None or pair[0] not in updated or not _initial(pair[1]):
            continue
        value = pair[1]
        if abstract_of[value].shape == ():
            if syntax.integer(value) is not None:
                return None
            lifted[value] = f"tl.full((ROWS, 1), {syntax.code(value)}, tl.float32)"
    scalars = {n for n in updated if not _starts(kernel, n)}
    return None if scalars & _assigned_outside(kernel) else lifted


def _initial(value: cst.BaseExpression) -> bool:
    return not (syntax.names(value) - {"tl", "float", "torch"}) or syntax.called(value) in FILLS


def _starts(kernel: Kernel, name: str) -> bool:
    pairs = [p for n in kernel.nodes if isinstance(n, cst.Assign) and (p := syntax.assigned(n)) and p[0] == name]
    return any(_initial(value) for _, value in pairs)


def _updated(kernel: Kernel) -> set[str]:
    """Find the names that a loop assigns by an expression that reads them, or by an augmented assignment."""
    updated: set[str] = set()
    for loop in kernel.loops:
        for node in syntax.walk(loop.body):
            if isinstance(node, cst.AugAssign) and isinstance(node.target, cst.Name):
                updated.add(node.target.value)
            pair = syntax.assigned(node) if isinstance(node, cst.Assign) else None
            if pair and pair[0] in syntax.names(pair[1]):
                updated.add(pair[0])
    return updated


def _assigned_outside(kernel: Kernel) -> set[str]:
    """Find the names that are assigned outside loops."""
    inside = {id(n) for loop in kernel.loops for n in syntax.walk(loop.body)}
    return {
        p[0] for n in kernel.nodes if isinstance(n, cst.Assign) and id(n) not in inside and (p := syntax.assigned(n))
    }


def _lift(
    module: TritonModule,
    kernel: Kernel,
    launch: Launch,
    grid: Grid,
    axis: int,
    rows: str,
    facts: RewriteFacts,
    rng: Random,
) -> Change | None:
    if {"ROWS", "num_rows", "row_mask"} & kernel.names:
        return None
    count = rng.choice((2, 4, 8))
    edits = module.edits()
    _lift_kernel(edits, kernel, axis)
    add_parameter(edits, kernel, "num_rows")
    edits.after(kernel.parameters[-1].last, _constexpr(kernel, "ROWS"))
    variable = unused("ROWS", syntax.names(launch.function))
    _lift_launch(edits, launch, grid.elements[axis], rows, variable)
    define_before_grid(edits, launch, f"{variable} = {count}")
    warps = _fewer_warps(module, kernel, launch, count, facts)
    if warps is not None:
        edits.replace(launch.options["num_warps"].value, str(warps))
    few = f"; {warps} warps, so that a thread loads 16 bytes at once" if warps is not None else ""
    return change(
        edits, f"{count} rows per program in {kernel.name}: what rows share is loaded once for all of them{few}"
    )


def _fewer_warps(module: TritonModule, kernel: Kernel, launch: Launch, count: int, facts: RewriteFacts) -> int | None:
    """Return how many warps load the tile of all rows in vectors of 16 bytes, if that is fewer than there are."""
    passed = launch.options.get("num_warps")
    now = syntax.integer(passed.value) if passed is not None else None
    row = largest_tile(kernel, launch, module, facts)
    if now is None or row is None or kernel.autotuned:
        return None
    wanted = max(1, count * row * facts.item_bytes // (VECTOR * facts.device.warp_size))
    programs = min((prod(b.grid) for b in facts.launches if b.kernel == kernel.name), default=None)
    idle = programs is not None and programs // count * wanted < ENOUGH_WARPS * facts.device.sm_count
    return 1 << (wanted.bit_length() - 1) if wanted < now and not idle else None


def _constexpr(kernel: Kernel, name: str) -> str:
    return f", {name}: tl.constexpr" + (" = 1" if any(p.default is not None for p in kernel.parameters) else "")


def _lift_launch(edits: Edits, launch: Launch, element: cst.BaseExpression, rows: str, variable: str) -> None:
    edits.replace(element, f"triton.cdiv({syntax.code(element)}, {variable})")
    add_arguments(edits, launch, ("num_rows", rows), ("ROWS", variable))


def _lift_kernel(edits: Edits, kernel: Kernel, axis: int) -> None:
    abstract_of = analyse(kernel)
    for value, text in (carried(kernel, abstract_of) or {}).items():
        edits.replace(value, text)
    (program,) = (c for c in kernel.called("tl.program_id") if _axis(c) == axis)
    tile = f"({syntax.code(program)} * ROWS + tl.arange(0, ROWS)[:, None])"
    edits.replace(program, tile)
    edits.statements_before(kernel.body[0], f"row_mask = {tile[1:-1]} < num_rows")
    for call in kernel.calls:
        _lift_call(edits, call, abstract_of, axis)


def _lift_call(edits: Edits, call: cst.Call, abstract_of: Mapping[cst.CSTNode, Abstract], axis: int) -> None:
    name = syntax.called(call)
    if name == "tl.arange":
        edits.after(call, "[None, :]")
    elif name in FILLS:
        _lift_fill(edits, call)
    elif name in LOWERED:
        _lift_reduction(edits, call, abstract_of)
    elif name in ("tl.load", "tl.store") and axis in abstract_of[call.args[0].value].programs:
        place = 1 if name == "tl.load" else 2
        mask = syntax.argument(call, place, "mask")
        if mask is None:
            edits.after(call.args[-1], ", mask=row_mask")
        else:
            edits.replace(mask.value, f"{syntax.operand(mask.value)} & row_mask")


def _lift_fill(edits: Edits, call: cst.Call) -> None:
    shape = syntax.argument(call, 0, "shape")
    elements = syntax.expressions(shape.value) if shape else None
    if elements:
        edits.replace(elements[0], f"ROWS, {syntax.code(elements[0])}")


def _lift_reduction(edits: Edits, call: cst.Call, abstract_of: Mapping[cst.CSTNode, Abstract]) -> None:
    axis = syntax.argument(call, 1, "axis")
    if axis is not None:
        edits.replace(axis.value, "1")
        edits.after(call.args[-1], ", keep_dims=True")
    else:
        edits.after(call.args[-1], ", axis=1, keep_dims=True")


TRANSFORMATIONS = (
    Transformation(
        "rows_per_program", "a program takes several rows as a 2-D tile, so that what they share is loaded once",
        ("register_tiling", "shared_memory_tiling", "vectorized_load"),
        ("redundant_traffic", "too_few_bytes_in_flight", "small_tiles", "narrow_loads"),
        _sites, 2.5, marks=("num_rows",), effect=wide_load_share,
    ),
)  # fmt: skip
