"""Reduce a kernel's source to what decides its behaviour: sources with equal forms do the same on every input."""

from __future__ import annotations

import ast
import builtins
from collections.abc import Iterable, Iterator, Mapping

from kopt import artifact

UNREAD = ""
"""Form of a source that cannot be parsed; it equals no other."""

NAME_FIELDS: Mapping[type[ast.AST], str] = {
    ast.Name: "id", ast.FunctionDef: "name", ast.AsyncFunctionDef: "name", ast.ClassDef: "name",
    ast.ExceptHandler: "name", ast.arg: "arg",
}  # fmt: skip
"""The field of a node that holds a name which `_bound` yields, or a reference to one."""

_Documented = ast.Module | ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef


def source_form(source: str, entry: str) -> str:
    """Return the digest of a source without comments, docstrings, layout and names of variables and functions.

    A name counts where it is more than a variable's: the entry point and its parameters, attributes, arguments passed
    by name, texts, built-in functions, packages.

    Args:
        source: text of a Python module.
        entry: name of the kernel's entry point.
    """
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return UNREAD
    for node in ast.walk(tree):
        if isinstance(node, _Documented) and ast.get_docstring(node, clean=False) is not None:
            node.body = node.body[1:] or [ast.Pass()]
    nodes = list(ast.walk(tree))
    free = {name for node in nodes for name in _bound(node)} - _meant(nodes, entry)
    numbers: dict[str, str] = {}
    for node in nodes:
        field = NAME_FIELDS.get(type(node))
        if field is not None and (value := getattr(node, field)) in free:
            setattr(node, field, numbers.setdefault(value, f"{len(numbers)}"))
    return artifact.text_digest(ast.dump(tree))


def _bound(node: ast.AST) -> Iterator[str]:
    """Yield the names that a node binds."""
    if isinstance(node, ast.Name) and not isinstance(node.ctx, ast.Load):
        yield node.id
    elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef | ast.ExceptHandler) and node.name:
        yield node.name
    elif isinstance(node, ast.arg):
        yield node.arg


def _meant(nodes: Iterable[ast.AST], entry: str) -> set[str]:
    """Collect the names that are more than a variable's."""
    meant = {entry, *vars(builtins)}
    for node in nodes:
        if isinstance(node, ast.FunctionDef) and node.name == entry:
            meant |= {part.arg for part in ast.walk(node.args) if isinstance(part, ast.arg)}
        elif isinstance(node, ast.Global | ast.Nonlocal):
            meant |= set(node.names)
        elif isinstance(node, ast.ClassDef):
            meant |= {name for part in ast.walk(node) for name in _bound(part)}
        elif not isinstance(node, ast.Name | ast.arg | ast.FunctionDef | ast.AsyncFunctionDef | ast.ExceptHandler):
            meant |= {word for _, value in ast.iter_fields(node) if isinstance(value, str) for word in _words(value)}
        if isinstance(node, ast.MatchClass):
            meant |= set(node.kwd_attrs)
    return meant


def _words(text: str) -> Iterator[str]:
    """Yield the identifiers in a text."""
    word = ""
    for letter in f"{text} ":
        if letter.isidentifier() or (word and letter.isalnum()):
            word += letter
        elif word:
            yield word
            word = ""
