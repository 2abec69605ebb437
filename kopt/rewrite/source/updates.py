"""Read what a loop accumulates: additions to a name, and the statement that gives the name its first value."""

from __future__ import annotations

from dataclasses import dataclass

import libcst as cst

from kopt.rewrite.source import syntax
from kopt.rewrite.source.module import Kernel


@dataclass(frozen=True, eq=False)
class Addition:
    """`name += value`, `name = name + value` or `name = tl.dot(a, b, name)` in a loop."""

    name: str
    value: cst.BaseExpression | None
    """The summand; None for `tl.dot(a, b, name)`."""
    statement: cst.BaseSmallStatement


def addition(statement: cst.CSTNode) -> Addition | None:
    """Read a small statement as an addition to a name; None when it is none."""
    if isinstance(statement, cst.AugAssign):
        if isinstance(statement.target, cst.Name) and isinstance(statement.operator, cst.AddAssign):
            return Addition(statement.target.value, statement.value, statement)
        return None
    pair = syntax.assigned(statement) if isinstance(statement, cst.Assign) else None
    if pair is None or not isinstance(statement, cst.Assign):
        return None
    name, value = pair
    for pattern in (f"{name} + VALUE_", f"VALUE_ + {name}"):
        match = syntax.match(pattern, value)
        if match and isinstance(match["VALUE_"], cst.BaseExpression) and name not in syntax.names(match["VALUE_"]):
            return Addition(name, match["VALUE_"], statement)
    if syntax.called(value) == "tl.dot" and isinstance(value, cst.Call):
        acc = syntax.argument(value, 2, "acc")
        if acc is not None and syntax.code(acc.value) == name:
            return Addition(name, None, statement)
    return None


def additions(loop: cst.For) -> dict[str, list[Addition]]:
    """Find the additions in a loop, by name."""
    by_name: dict[str, list[Addition]] = {}
    for node in syntax.walk(loop.body):
        if isinstance(node, cst.BaseSmallStatement) and (added := addition(node)):
            by_name.setdefault(added.name, []).append(added)
    return by_name


def uses(node: cst.CSTNode, name: str) -> int:
    """Count a name below a node as a variable, not as an attribute or a keyword of a call."""
    nodes = syntax.walk(node)
    words = {id(n.keyword) for n in nodes if isinstance(n, cst.Arg)}
    words |= {id(n.attr) for n in nodes if isinstance(n, cst.Attribute)}
    return sum(isinstance(n, cst.Name) and n.value == name and id(n) not in words for n in nodes)


def initial(kernel: Kernel, name: str, loop: cst.For) -> cst.SimpleStatementLine | None:
    """Find the one top-level statement that gives a name its first value, before a top-level loop; else None."""
    lines = [s for s in kernel.body if (pair := syntax.assigned(s)) and pair[0] == name]
    body = list(kernel.body)
    if len(lines) != 1 or loop not in body or body.index(lines[0]) > body.index(loop):
        return None
    return lines[0] if isinstance(lines[0], cst.SimpleStatementLine) else None


def is_zero(value: cst.BaseExpression) -> bool:
    """Return whether an expression is zeros of any shape."""
    if isinstance(value, cst.Call) and syntax.called(value) == "tl.full":
        filled = syntax.argument(value, 1, "value")
        return filled is not None and syntax.code(filled.value) in ("0.0", "0.", "0")
    return syntax.called(value) == "tl.zeros" or syntax.code(value) in ("0.0", "0.")


def is_float32_zero(value: cst.BaseExpression) -> bool:
    """Return whether an expression is zeros of any shape in float32: the start of a sum that float32 parts can make."""
    if not isinstance(value, cst.Call):
        return is_zero(value)
    dtype = syntax.argument(value, 2 if syntax.called(value) == "tl.full" else 1, "dtype")
    return is_zero(value) and dtype is not None and syntax.code(dtype.value) == "tl.float32"
