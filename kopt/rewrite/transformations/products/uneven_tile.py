"""Give a product tiles of one and a half times a power of two, so that the last wave of programs is fuller.

Triton's tiles are powers of two.  A program that computes two neighbouring tiles, one of `BLOCK` columns and one of
`BLOCK // 2`, shares the other operand between both: everything that depends on the columns is there twice, with
another range.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from random import Random

import libcst as cst

from kopt.rewrite.effects import matrix_instructions
from kopt.rewrite.source import syntax
from kopt.rewrite.source.divisibility import definitions
from kopt.rewrite.source.module import Constant, Grid, Kernel, Launch, TritonModule
from kopt.rewrite.source.shapes import ELEMENTWISE, FILLS, analyse
from kopt.rewrite.source.statements import is_simple, names_read, names_stored, program_axis, variables
from kopt.rewrite.transformation import Change, RewriteFacts, Site, Transformation, change
from kopt.rewrite.transformations.product_tiles import SHARPNESS, model_of
from kopt.rewrite.transformations.tiles import blocks

COLUMNWISE = FILLS | ELEMENTWISE | {
    "tl.load", "tl.store", "tl.dot", "tl.arange", "tl.program_id", "tl.trans", "tl.reshape", "tl.permute", "tl.split",
    "tl.broadcast_to",
}  # fmt: skip
"""Functions that treat every column of a product by itself."""
NARROWEST, FEWEST_ROWS, WIDEST = 32, 128, 128
"""Fewest columns, fewest rows and most of either of a tile that can become one and a half times as long.

Half of the rows must fill a matrix instruction.
"""
LEAST_GAIN, MOST_GAIN = 0.1, 4.0
"""Bounds of a site's weight."""
LARGE_STAGES = 3
"""Stages of the widest tiles that shared memory holds when they become one and a half times as long."""


@dataclass(frozen=True, eq=False)
class Columns:
    """The dimension of a product's tile that the program's number along an axis decides."""

    constant: Constant
    axis: int
    offsets: tuple[cst.BinaryOperation, ...]
    """Products `program * BLOCK`: where a program's columns begin."""
    flags: tuple[str, ...]
    """Parameters that say that the size is a multiple of the block."""
    doubled: tuple[cst.SimpleStatementLine, ...]
    """Statements that depend on the columns, in source order."""


def _sites(module: TritonModule, facts: RewriteFacts) -> Sequence[Site]:
    sites = []
    for constant in blocks(module):
        kernel, launch = constant.kernel, constant.launch
        if kernel.autotuned or launch.grid is None:
            continue
        least = NARROWEST if _is_width(kernel, constant.name) else FEWEST_ROWS
        if not least <= constant.value <= WIDEST or not kernel.called("tl.dot"):
            continue
        found = _columns(module, kernel, launch, launch.grid, constant)
        if found is not None:
            apply = partial(_widen, module, kernel, launch, launch.grid, found)
            sites.append(Site(apply, _gain(module, constant, facts)))
    return sites


def _gain(module: TritonModule, constant: Constant, facts: RewriteFacts) -> float:
    """Weigh a site by how much faster the model of tiles finds one and a half times as many columns or rows."""
    model = model_of(module, constant.kernel, facts)
    if model is None:
        return 1.0
    now = [each.value for each in model.constants]
    longer = [v * 3 // 2 if c is constant else v for c, v in zip(model.constants, now, strict=True)]
    ratio = model.time(now, fits=False) / model.time(longer, fits=False)
    return min(max(ratio**SHARPNESS, LEAST_GAIN), MOST_GAIN)


def _is_width(kernel: Kernel, name: str) -> bool:
    """Return whether a block size is the width of a right operand."""
    shapes = [
        analyse(kernel)[c.args[1].value].shape for c in kernel.called("tl.dot") if c.args[1].value in analyse(kernel)
    ]
    return any(shape and shape[-1] in (name, f"2 * {name}") for shape in shapes)


def _columns(module: TritonModule, kernel: Kernel, launch: Launch, grid: Grid, constant: Constant) -> Columns | None:
    """Read a block size as the columns of a product; None where it means more than that."""
    name = constant.name
    made = definitions(kernel)
    offsets = [n for n in kernel.nodes if isinstance(n, cst.BinaryOperation) and isinstance(n.operator, cst.Multiply)
               and syntax.code(n.right) == name and _program(n.left, made) is not None]  # fmt: skip
    axes = {_program(n.left, made) for n in offsets}
    flags = _flags(kernel, launch, constant)
    if len(axes) != 1 or flags is None or any(name in syntax.names(loop.iter) for loop in kernel.loops):
        return None
    axis = axes.pop()
    if axis is None or axis >= len(grid.elements):
        return None
    division = syntax.match("triton.cdiv(N_, BLOCK_)", grid.elements[axis])
    if division is None or syntax.code(division["BLOCK_"]) not in _written(constant, grid):
        return None
    others = [division["N_"], *(e for place, e in enumerate(grid.elements) if place != axis)]
    if any(syntax.code(n) in _written(constant, grid) for e in others for n in syntax.walk(e)):
        return None
    doubled = _dependent(kernel, name, offsets, axis)
    return Columns(constant, axis, tuple(offsets), flags, doubled) if doubled else None


def _written(constant: Constant, grid: Grid) -> set[str]:
    """List what stands for a block size in a grid."""
    found = {f'{grid.meta}["{constant.name}"]', f"{grid.meta}['{constant.name}']"} if grid.meta else set()
    return found | ({constant.variable} if constant.variable else set())


def _program(node: cst.CSTNode, made: Mapping[str, cst.BaseExpression]) -> int | None:
    """Return the axis of a program's number, named or cast or as it is; None for anything else."""
    for _ in range(4):
        if isinstance(node, cst.Call) and isinstance(node.func, cst.Attribute) and node.func.attr.value == "to":
            node = node.func.value
        elif isinstance(node, cst.Name) and node.value in made:
            node = made[node.value]
    return program_axis(node) if isinstance(node, cst.Call) and syntax.called(node) == "tl.program_id" else None


def _flags(kernel: Kernel, launch: Launch, constant: Constant) -> tuple[str, ...] | None:
    """Name the flags `SIZE % BLOCK == 0 < SIZE` of a launch; None where it uses the block's name otherwise."""
    flags = list[str]()
    if not constant.variable:
        return ()
    for name, passed in launch.arguments.items():
        if constant.variable in syntax.names(passed.value) and name != constant.name:
            match = syntax.match(f"SIZE_ % {constant.variable} == 0 < SIZE_", passed.value)
            if match is None or not name.startswith("EVEN_"):
                return None
            flags.append(name)
    used = sum(n.value == constant.variable for n in variables(launch.function.body))
    in_grid = (
        sum(n.value == constant.variable for e in launch.grid.elements for n in variables(e)) if launch.grid else 0
    )
    return tuple(flags) if used == len(flags) + in_grid + 2 and in_grid <= 1 else None


def _dependent(
    kernel: Kernel, name: str, offsets: Sequence[cst.BinaryOperation], axis: int
) -> tuple[cst.SimpleStatementLine, ...] | None:
    """Find the statements that depend on the columns; None where one does not treat each column by itself."""
    tainted, found = {name}, list[cst.SimpleStatementLine]()
    lines = [n for n in kernel.nodes if isinstance(n, cst.SimpleStatementLine)]
    if kernel.called("tl.num_programs") or not _only_in(kernel, offsets, axis):
        return None
    for _ in range(2):  # what a loop carries is tainted in its second round
        found = []
        for line in lines:
            if names_read(line) & tainted:
                if not is_simple(line) or not _columnwise(line, tainted):
                    return None
                tainted |= names_stored(line)
                found.append(line)
    compound = [n for n in kernel.nodes if isinstance(n, (cst.If, cst.While, cst.For))]
    tests = [n.iter if isinstance(n, cst.For) else n.test for n in compound]
    if any(syntax.names(test) & tainted for test in tests):
        return None
    stored = {n for line in lines if line not in found for n in names_stored(line)}
    return None if stored & tainted else tuple(found)


def _only_in(kernel: Kernel, offsets: Sequence[cst.BinaryOperation], axis: int) -> bool:
    """Return whether the program's number along an axis counts in its offsets alone, or in names that only they use."""
    made = definitions(kernel)
    aliases = {n for n, value in made.items() if _program(value, made) == axis}
    inside = {id(n) for offset in offsets for n in syntax.walk(offset)}
    inside |= {id(n) for name in aliases for n in syntax.walk(made[name])}
    programs = [c for c in kernel.called("tl.program_id") if program_axis(c) == axis]
    targets = {id(n) for t in kernel.nodes if isinstance(t, cst.AssignTarget) for n in syntax.walk(t)}
    named = [n for statement in kernel.body for n in variables(statement) if n.value in aliases]
    return all(id(n) in inside for n in programs) and all(id(n) in inside | targets for n in named)


def _columnwise(line: cst.SimpleStatementLine, tainted: set[str]) -> bool:
    """Return whether a statement treats every column by itself, and stores to places that depend on the columns."""
    for call in (n for n in syntax.walk(line) if isinstance(n, cst.Call)):
        name = syntax.called(call)
        cast = isinstance(call.func, cst.Attribute) and call.func.attr.value == "to"
        if not cast and name not in COLUMNWISE and not name.startswith("tl.math."):
            return False
        if name == "tl.store" and not syntax.names(call.args[0].value) & tainted:
            return False
    return True


def _widen(
    module: TritonModule, kernel: Kernel, launch: Launch, grid: Grid, columns: Columns, rng: Random
) -> Change | None:
    constant = columns.constant
    name, variable = constant.name, constant.variable
    edits = module.edits()
    names = {n: kernel.fresh(f"{n}_rest") for line in columns.doubled for n in names_stored(line)}
    for line in columns.doubled:
        copy = edits.moved([line], _rest(line, name, names, columns.offsets))
        edits.statements_after(line, copy.strip("\n"))
    for offset in columns.offsets:
        edits.replace(offset, f"{syntax.code(offset.left)} * ({name} + {name} // 2)")
    division = grid.elements[columns.axis]
    assert isinstance(division, cst.Call)
    counted = syntax.code(division.args[1].value)
    edits.replace(division.args[1].value, f"({counted} + {counted} // 2)")
    for flag in columns.flags:
        passed = launch.arguments[flag].value
        for node in syntax.walk(passed):
            if isinstance(node, cst.Name) and node.value == variable:
                edits.replace(node, f"({variable} + {variable} // 2)")
    half = constant.value // 2
    option = launch.options.get("num_stages")
    stages = syntax.integer(option.value) if option is not None else None
    if option is not None and stages is not None and stages > LARGE_STAGES and constant.value >= WIDEST:
        edits.replace(option.value, str(stages - 1))
    return change(
        edits,
        f"a program of {kernel.name} computes tiles of {constant.value} and {half} along {name}: one and a half times "
        "a power of two, which fills the last wave of programs",
    )


def _rest(
    line: cst.SimpleStatementLine, name: str, names: Mapping[str, str], offsets: Sequence[cst.BinaryOperation]
) -> dict[cst.CSTNode, str]:
    """Return texts for the nodes of a statement that change in its copy for the second tile."""
    texts: dict[cst.CSTNode, str] = {}
    inside = set[int]()
    for node in syntax.walk(line):
        if any(node is offset for offset in offsets):
            assert isinstance(node, cst.BinaryOperation)
            texts[node] = f"({syntax.code(node.left)} * ({name} + {name} // 2) + {name})"
            inside |= {id(n) for n in syntax.walk(node)}
    for node in variables(line):
        if id(node) not in inside and node.value == name:
            texts[node] = f"({name} // 2)"
        elif id(node) not in inside and node.value in names:
            texts[node] = names[node.value]
    return texts


TRANSFORMATIONS = (
    Transformation(
        "uneven_tile", "a program computes two neighbouring tiles, the second half as wide, and shares loads",
        ("register_tiling", "shared_memory_tiling"),
        ("tail_wave", "redundant_traffic", "small_tiles", "too_few_programs"),
        _sites, 2.0, marks=("_rest",), effect=matrix_instructions,
    ),
)  # fmt: skip
