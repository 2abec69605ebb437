"""Read libcst nodes: names, literals, calls, and matches of a pattern written as Python."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields
from functools import cache, lru_cache

import libcst as cst

WHITESPACE = (cst.BaseParenthesizableWhitespace, cst.TrailingWhitespace, cst.EmptyLine, cst.Comma, cst.Comment)
BLANKS = frozenset({
    cst.SimpleWhitespace, cst.ParenthesizedWhitespace, cst.TrailingWhitespace, cst.EmptyLine, cst.Comma, cst.Comment,
    cst.MaybeSentinel, cst.Newline,
})  # fmt: skip
IGNORED = frozenset(
    {"lpar", "rpar", "comma", "semicolon", "leading_lines", "lines_after_decorators", "header", "footer"}
)
_BLANK = cst.Module([])


@lru_cache(maxsize=16384)
def code(node: cst.CSTNode) -> str:
    """Return the source text of a node, without surrounding white space."""
    return _BLANK.code_for_node(node).strip()


def operand(node: cst.CSTNode) -> str:
    """Return source text of a node that can stand as an operand of any operator."""
    text = code(node)
    simple = isinstance(node, (cst.Name, cst.Integer, cst.Float, cst.Call, cst.Attribute, cst.Subscript))
    return text if simple or getattr(node, "lpar", None) else f"({text})"


@lru_cache(maxsize=2048)
def walk(node: cst.CSTNode) -> Sequence[cst.CSTNode]:
    """List a node and everything below it but white space and punctuation, in source order."""
    nodes: list[cst.CSTNode] = []
    waiting = [node]
    while waiting:
        current = waiting.pop()
        nodes.append(current)
        waiting += reversed(children(current))
    return nodes


def children(node: cst.CSTNode) -> list[cst.CSTNode]:
    """List the nodes right below a node but white space and punctuation.

    libcst's own `children` is many times slower.
    """
    below: list[cst.CSTNode] = []
    for name in _fields(type(node)):
        value = getattr(node, name)
        if type(value) in (list, tuple):
            below += value
        elif value.__class__.__module__.startswith("libcst."):
            below.append(value)
    return [item for item in below if type(item) not in BLANKS]


def names(node: cst.CSTNode) -> frozenset[str]:
    """List the identifiers below a node that stand for values (not attributes, not keywords of calls)."""
    collected: set[str] = set()
    _collect_names(node, collected)
    return frozenset(collected)


def _collect_names(node: cst.CSTNode, collected: set[str]) -> None:
    match node:
        case cst.Name():
            collected.add(node.value)
        case cst.Attribute():
            _collect_names(node.value, collected)
        case cst.Arg():
            _collect_names(node.value, collected)
        case _:
            for child in children(node):
                _collect_names(child, collected)


def dotted(node: cst.CSTNode) -> str:
    """Write an attribute chain as `tl.load`; the empty string for anything else."""
    if isinstance(node, cst.Name):
        return node.value
    if isinstance(node, cst.Attribute):
        front = dotted(node.value)
        return f"{front}.{node.attr.value}" if front else ""
    return ""


def called(node: cst.CSTNode) -> str:
    """Return the dotted name of the function that a call calls, or the empty string."""
    return dotted(node.func) if isinstance(node, cst.Call) else ""


def integer(node: cst.CSTNode | None) -> int | None:
    """Return the value of an integer literal, None for other nodes."""
    if isinstance(node, cst.Integer):
        return node.evaluated_value
    return None


def argument(call: cst.Call, position: int, keyword: str) -> cst.Arg | None:
    """Find the argument passed at a position or by a keyword."""
    plain = [a for a in call.args if a.keyword is None]
    if position < len(plain):
        return plain[position]
    return next((a for a in call.args if a.keyword is not None and a.keyword.value == keyword), None)


def keyword(call: cst.Call, name: str) -> cst.Arg | None:
    """Find the argument passed by a keyword."""
    return next((a for a in call.args if a.keyword is not None and a.keyword.value == name), None)


def starred(call: cst.Call) -> bool:
    """Return whether a call unpacks arguments with stars, so that not all are visible."""
    return any(a.star for a in call.args)


def expressions(items: cst.BaseExpression) -> list[cst.BaseExpression] | None:
    """List the elements of a tuple or list display; None for anything else and for unpacking."""
    if not isinstance(items, (cst.Tuple, cst.List)) or any(isinstance(e, cst.StarredElement) for e in items.elements):
        return None
    return [e.value for e in items.elements]


def assigned(statement: cst.CSTNode) -> tuple[str, cst.BaseExpression] | None:
    """Read `name = value`, given as a statement line or as the small statement in it; None for anything else."""
    if isinstance(statement, cst.SimpleStatementLine) and len(statement.body) == 1:
        statement = statement.body[0]
    if isinstance(statement, cst.AnnAssign) and isinstance(statement.target, cst.Name) and statement.value is not None:
        return statement.target.value, statement.value
    if isinstance(statement, cst.Assign) and len(statement.targets) == 1:
        target = statement.targets[0].target
        if isinstance(target, cst.Name):
            return target.value, statement.value
    return None


def match(pattern: str, node: cst.CSTNode) -> Mapping[str, cst.CSTNode] | None:
    """Match an expression against a pattern, in which names like `X_` stand for any expression.

    A name that occurs twice must match the same text twice.  White space, comments and parentheses do not count.

    Returns:
        the node that each name stands for, or None when the expression does not match.
    """
    bound: dict[str, cst.CSTNode] = {}
    return bound if _match(_pattern(pattern), node, bound) else None


@cache
def _pattern(pattern: str) -> cst.BaseExpression:
    return cst.parse_expression(pattern)


def _match(pattern: cst.CSTNode, node: cst.CSTNode, bound: dict[str, cst.CSTNode]) -> bool:
    if isinstance(pattern, cst.Name) and pattern.value.endswith("_") and pattern.value.isupper():
        if pattern.value in bound:
            return same(bound[pattern.value], node)
        bound[pattern.value] = node
        return True
    if type(pattern) is not type(node):
        return False
    return all(_match_field(getattr(pattern, f), getattr(node, f), bound) for f in _fields(type(pattern)))


@cache
def _fields(node_type: type[cst.CSTNode]) -> tuple[str, ...]:
    return tuple(f.name for f in fields(node_type) if f.name not in IGNORED and not f.name.startswith("whitespace"))


def _match_field(pattern: object, value: object, bound: dict[str, cst.CSTNode]) -> bool:
    if isinstance(pattern, WHITESPACE):
        return True
    if isinstance(pattern, cst.CSTNode):
        return isinstance(value, cst.CSTNode) and _match(pattern, value, bound)
    if isinstance(pattern, (list, tuple)):
        return (
            isinstance(value, (list, tuple))
            and len(pattern) == len(value)
            and all(_match_field(p, v, bound) for p, v in zip(pattern, value, strict=True))
        )
    return isinstance(value, WHITESPACE) or pattern == value


def same(left: cst.CSTNode, right: cst.CSTNode) -> bool:
    """Return whether two nodes are equal but for white space, comments and parentheses."""
    if type(left) is not type(right):
        return False
    return all(_match_field(getattr(left, f), getattr(right, f), {}) for f in _fields(type(left)))
