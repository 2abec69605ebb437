"""Reading libcst nodes: names, literals, calls, and matching against a pattern written as Python."""

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
    """Source text of a node, without its own parentheses' surroundings."""
    return _BLANK.code_for_node(node).strip()


def operand(node: cst.CSTNode) -> str:
    """Source text that can stand as an operand of any operator."""
    text = code(node)
    simple = isinstance(node, (cst.Name, cst.Integer, cst.Float, cst.Call, cst.Attribute, cst.Subscript))
    return text if simple or getattr(node, "lpar", None) else f"({text})"


@lru_cache(maxsize=2048)
def walk(node: cst.CSTNode) -> Sequence[cst.CSTNode]:
    """A node and everything below it but whitespace and punctuation, in source order."""
    found: list[cst.CSTNode] = []
    waiting = [node]
    while waiting:
        one = waiting.pop()
        found.append(one)
        waiting += reversed(children(one))
    return found


def children(node: cst.CSTNode) -> list[cst.CSTNode]:
    """The nodes right below a node, but whitespace and punctuation (libcst's own `children` is many times slower)."""
    found: list[cst.CSTNode] = []
    for name in _fields(type(node)):
        value = getattr(node, name)
        if type(value) in (list, tuple):
            found += value
        elif value.__class__.__module__.startswith("libcst."):
            found.append(value)
    return [item for item in found if type(item) not in BLANKS]


def names(node: cst.CSTNode) -> frozenset[str]:
    """All identifiers below a node that stand for values (not attributes, not keywords of calls)."""
    found: set[str] = set()
    _names(node, found)
    return frozenset(found)


def _names(node: cst.CSTNode, found: set[str]) -> None:
    match node:
        case cst.Name():
            found.add(node.value)
        case cst.Attribute():
            _names(node.value, found)
        case cst.Arg():
            _names(node.value, found)
        case _:
            for child in children(node):
                _names(child, found)


def dotted(node: cst.CSTNode) -> str:
    """`tl.load` of such an attribute chain, or the empty string for anything else."""
    if isinstance(node, cst.Name):
        return node.value
    if isinstance(node, cst.Attribute):
        front = dotted(node.value)
        return f"{front}.{node.attr.value}" if front else ""
    return ""


def called(node: cst.CSTNode) -> str:
    """Dotted name of the function that a call calls, or the empty string."""
    return dotted(node.func) if isinstance(node, cst.Call) else ""


def integer(node: cst.CSTNode | None) -> int | None:
    """Value of an integer literal."""
    if isinstance(node, cst.Integer):
        return node.evaluated_value
    return None


def argument(call: cst.Call, position: int, keyword: str) -> cst.Arg | None:
    """The argument passed at a position or by a keyword."""
    plain = [a for a in call.args if a.keyword is None]
    if position < len(plain):
        return plain[position]
    return next((a for a in call.args if a.keyword is not None and a.keyword.value == keyword), None)


def keyword(call: cst.Call, name: str) -> cst.Arg | None:
    """The argument passed by a keyword."""
    return next((a for a in call.args if a.keyword is not None and a.keyword.value == name), None)


def starred(call: cst.Call) -> bool:
    """True when a call unpacks arguments, so that what is passed cannot be read off."""
    return any(a.star for a in call.args)


def expressions(items: cst.BaseExpression) -> list[cst.BaseExpression] | None:
    """Elements of a tuple or list display, or None for anything else and for unpacking."""
    if not isinstance(items, (cst.Tuple, cst.List)) or any(isinstance(e, cst.StarredElement) for e in items.elements):
        return None
    return [e.value for e in items.elements]


def assigned(statement: cst.CSTNode) -> tuple[str, cst.BaseExpression] | None:
    """Name and value of `name = value`, as a statement line or as the small statement in it."""
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

    A name that occurs twice must match the same text twice.  Whitespace, comments and parentheses do not count.
    """
    found: dict[str, cst.CSTNode] = {}
    return found if _match(_pattern(pattern), node, found) else None


@cache
def _pattern(pattern: str) -> cst.BaseExpression:
    return cst.parse_expression(pattern)


def _match(pattern: cst.CSTNode, node: cst.CSTNode, found: dict[str, cst.CSTNode]) -> bool:
    if isinstance(pattern, cst.Name) and pattern.value.endswith("_") and pattern.value.isupper():
        if pattern.value in found:
            return same(found[pattern.value], node)
        found[pattern.value] = node
        return True
    if type(pattern) is not type(node):
        return False
    return all(_match_field(getattr(pattern, f), getattr(node, f), found) for f in _fields(type(pattern)))


@cache
def _fields(kind: type[cst.CSTNode]) -> tuple[str, ...]:
    return tuple(f.name for f in fields(kind) if f.name not in IGNORED and not f.name.startswith("whitespace"))


def _match_field(pattern: object, value: object, found: dict[str, cst.CSTNode]) -> bool:
    if isinstance(pattern, WHITESPACE):
        return True
    if isinstance(pattern, cst.CSTNode):
        return isinstance(value, cst.CSTNode) and _match(pattern, value, found)
    if isinstance(pattern, (list, tuple)):
        return (
            isinstance(value, (list, tuple))
            and len(pattern) == len(value)
            and all(_match_field(p, v, found) for p, v in zip(pattern, value, strict=True))
        )
    return isinstance(value, WHITESPACE) or pattern == value


def same(one: cst.CSTNode, other: cst.CSTNode) -> bool:
    """Equal but for whitespace, comments and parentheses."""
    if type(one) is not type(other):
        return False
    return all(_match_field(getattr(one, f), getattr(other, f), {}) for f in _fields(type(one)))
