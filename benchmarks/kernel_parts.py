"""Parts of a kernel's module, found in its AST: jitted functions, the entry point, its first launch."""

from __future__ import annotations

import ast
from collections.abc import Callable

Rewrite = Callable[[str], str | None]
"""From a source to another one; None when it does not fit."""

ENTRY = "kernel_function"


def is_jitted(node: ast.AST) -> bool:
    """Whether it is a function that Triton compiles."""
    return isinstance(node, ast.FunctionDef) and any("jit" in ast.unparse(item) for item in node.decorator_list)


def jitted(tree: ast.Module) -> list[ast.FunctionDef]:
    """The jitted functions."""
    return [node for node in tree.body if isinstance(node, ast.FunctionDef) and is_jitted(node)]


def entry_of(tree: ast.Module) -> ast.FunctionDef:
    """The entry point."""
    return next(node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name == ENTRY)


def first_launch(tree: ast.Module) -> tuple[int, ast.Expr, ast.Call]:
    """Place in the entry point, statement and call of the first launch."""
    for place, node in enumerate(entry_of(tree).body):
        if (
            isinstance(node, ast.Expr)
            and isinstance(node.value, ast.Call)
            and isinstance(node.value.func, ast.Subscript)
        ):
            return place, node, node.value
    raise ValueError("no launch")


def keyword_of(call: ast.Call, *names: str) -> ast.keyword | None:
    """The first keyword argument of a call whose name holds one of these."""
    return next((item for item in call.keywords if item.arg and any(name in item.arg for name in names)), None)


def calls_of(tree: ast.Module, *names: str) -> list[ast.Call]:
    """Calls of these functions in the jitted functions."""
    return [
        node
        for function in jitted(tree)
        for node in ast.walk(function)
        if isinstance(node, ast.Call) and ast.unparse(node.func) in names
    ]


def expression(text: str) -> ast.expr:
    """A text as an expression."""
    return ast.parse(text, mode="eval").body


def statements(text: str) -> list[ast.stmt]:
    """A text as statements."""
    return ast.parse(text).body


def text_of(tree: ast.Module) -> str:
    """The source of a tree."""
    return ast.unparse(ast.fix_missing_locations(tree)) + "\n"
