"""Read simple statements of a kernel: what they assign and read; and write them for a tile's own program ids."""

from __future__ import annotations

from collections.abc import Mapping

import libcst as cst

from kopt.rewrite.source import syntax


def is_simple(statement: cst.CSTNode) -> bool:
    """Return whether a statement is one assignment, or a store or an assertion."""
    if not isinstance(statement, cst.SimpleStatementLine) or len(statement.body) != 1:
        return False
    small = statement.body[0]
    if isinstance(small, cst.Expr):
        return syntax.called(small.value) in ("tl.store", "tl.static_assert", "tl.assume")
    return isinstance(small, cst.AugAssign) or (isinstance(small, cst.Assign) and len(small.targets) == 1)


def names_stored(statement: cst.CSTNode) -> set[str]:
    """List the names that a statement assigns."""
    nodes = syntax.walk(statement)
    return {n for a in nodes if isinstance(a, (cst.AssignTarget, cst.AugAssign)) for n in syntax.names(a.target)}


def names_read(statement: cst.CSTNode) -> frozenset[str]:
    """List the names that a statement reads."""
    read = frozenset[str]()
    for node in syntax.walk(statement):
        if isinstance(node, cst.AugAssign):
            read |= syntax.names(node)
        elif isinstance(node, (cst.Assign, cst.Expr)):
            read |= syntax.names(node.value)
    return read


def read_before_written(statement: cst.CSTNode) -> set[str]:
    """Name what a statement, or a loop of assignments, reads that it has not assigned before."""
    if not isinstance(statement, cst.For):
        pair = syntax.assigned(statement)
        return set(syntax.names(pair[1] if pair is not None else statement))
    read, written = set[str](), {syntax.code(statement.target)}
    for line in statement.body.body:
        pair = syntax.assigned(line)
        read |= syntax.names(pair[1] if pair is not None else line) - written
        written |= {pair[0]} if pair is not None else set()
    return read


def variables(node: cst.CSTNode) -> list[cst.Name]:
    """List the names below a node that stand for values: not attributes, not keywords of calls."""
    words = {id(n.keyword) for n in syntax.walk(node) if isinstance(n, cst.Arg)}
    words |= {id(n.attr) for n in syntax.walk(node) if isinstance(n, cst.Attribute)}
    return [n for n in syntax.walk(node) if isinstance(n, cst.Name) and id(n) not in words]


def program_axis(call: cst.Call) -> int | None:
    """Return the axis of `tl.program_id` or `tl.num_programs`; None where it is no literal."""
    passed = syntax.argument(call, 0, "axis")
    return syntax.integer(passed.value) if passed else 0


def tile_ids(tile: str, name: str, rank: int, *, last_first: bool = False) -> list[str]:
    """Write the statements that split a tile's number into program ids.

    Args:
        tile: the tile's number, as an expression.
        name: name of the program ids, to which `_0`, `_1`, `_2` is added.
        rank: axes of the grid; `programs_0`, `programs_1`, `programs_2` hold their extents.
        last_first: whether the last axis changes fastest, not the first one, as in hardware.
    """
    axes = list(range(rank))[:: -1 if last_first else 1]
    lines, rest = list[str](), tile
    for axis in axes[:-1]:
        lines.append(f"{name}_{axis} = {rest} % programs_{axis}")
        rest = f"({rest} // programs_{axis})" if rest == tile else f"({rest[1:-1]} // programs_{axis})"
    return [*lines, f"{name}_{axes[-1]} = {rest if rest == tile else rest[1:-1]}"]


def with_names(statement: cst.CSTNode, program: str, names: Mapping[str, str]) -> dict[cst.CSTNode, str]:
    """Map the nodes of a statement that change when program ids and some names get other texts."""
    found: dict[cst.CSTNode, str] = {n: names[n.value] for n in variables(statement) if n.value in names}
    for node in syntax.walk(statement):
        if isinstance(node, cst.Call) and syntax.called(node) == "tl.program_id":
            found[node] = f"{program}_{program_axis(node)}"
    return found
