"""Remove comments and docstrings that were written for other code than that beside which they stand now."""

from __future__ import annotations

import ast
import io
import tokenize
from collections.abc import Sequence
from typing import NamedTuple

KEPT = ("# fmt:", "# type:", "# noqa", "#!")
"""Begins of comments that speak to programs."""


class _Comment(NamedTuple):
    text: str
    code: str
    """The code of its line; of a comment on a line of its own, that of the next line."""
    line: int
    column: int
    alone: bool


def without_stale_words(source: str, lineage: Sequence[str]) -> tuple[str, int]:
    """Remove comments and docstrings whose code is not the code for which they were written.

    Args:
        source: the kernel's module.
        lineage: sources of its ancestors, the seed kernel first; the first with a text has written it.

    Returns:
        The text, and the number of comments and docstrings that were removed.
    """
    try:
        text, docstrings = _without_docstrings(source, lineage)
        comments = [one for one in _comments(text) if _is_stale(one, lineage)]
    except (SyntaxError, tokenize.TokenError, ValueError, RecursionError):
        return source, 0
    lines = text.split("\n")
    for one in sorted(comments, reverse=True, key=lambda one: one.line):
        if one.alone:
            del lines[one.line - 1]
        else:
            lines[one.line - 1] = lines[one.line - 1][: one.column].rstrip()
    return "\n".join(lines), docstrings + len(comments)


def _is_stale(comment: _Comment, lineage: Sequence[str]) -> bool:
    """Return whether the first ancestor with the comment has other code beside it."""
    if comment.text.startswith(KEPT):
        return False
    for ancestor in lineage:
        first = [one.code for one in _comments(ancestor) if one.text == comment.text]
        if first:
            return comment.code not in first
    return False


def _comments(source: str) -> list[_Comment]:
    lines = source.split("\n")
    found = []
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            line, column = token.start
            own = lines[line - 1][:column].strip()
            code = own or next((text.strip() for text in lines[line:] if not _is_empty(text)), "")
            found.append(_Comment(token.string, code, line, column, not own))
    return found


def _is_empty(line: str) -> bool:
    return not line.strip() or line.strip().startswith("#")


def _without_docstrings(source: str, lineage: Sequence[str]) -> tuple[str, int]:
    stale = [node for node, name in _documented(source) if _is_other(node, name, lineage)]
    lines, removed = source.split("\n"), 0
    for node in sorted(stale, key=lambda one: -one.body[0].lineno):
        first, last = node.body[0].lineno, node.body[0].end_lineno or node.body[0].lineno
        shares_lines = lines[first - 1][: node.body[0].col_offset].strip() or ";" in lines[last - 1][-2:]
        if not shares_lines and (isinstance(node, ast.Module) or len(node.body) > 1):
            del lines[first - 1 : last]
            removed += 1
    return "\n".join(lines).lstrip("\n"), removed


def _documented(source: str) -> list[tuple[ast.Module | ast.FunctionDef, str]]:
    """List the module and its functions that have docstrings, by name."""
    tree = ast.parse(source)
    functions = [node for node in tree.body if isinstance(node, ast.FunctionDef)]
    named: list[tuple[ast.Module | ast.FunctionDef, str]] = [(tree, ""), *((node, node.name) for node in functions)]
    return [(node, name) for node, name in named if ast.get_docstring(node) is not None]


def _is_other(node: ast.Module | ast.FunctionDef, name: str, lineage: Sequence[str]) -> bool:
    """Return whether the first ancestor with this docstring at this place has other code there."""
    for ancestor in lineage:
        for other, other_name in _documented(ancestor):
            if other_name == name and ast.get_docstring(other) == ast.get_docstring(node):
                return _code(other) != _code(node)
    return False


def _code(node: ast.Module | ast.FunctionDef) -> str:
    """Return what a docstring describes: the code behind it, and the signature."""
    signature = ast.dump(node.args) if isinstance(node, ast.FunctionDef) else ""
    return signature + "".join(ast.dump(statement) for statement in node.body[1:])
