"""Loop variables in the interpreter: on a GPU they are tensors, which kernels cast; here, integers that can be cast.

`range` and `tl.range` in a kernel give integers that know how to be cast.  Only the kernel's own text is changed.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator
from typing import Any

import triton.language as tl
from triton.runtime import interpreter

NAME = "kopt_range"


class Index(int):
    """A loop variable."""

    def to(self, dtype: Any, *options: Any, **named: Any) -> Any:
        """The value as a scalar tensor of another type."""
        return interpreter._implicit_cvt(int(self)).to(dtype, *options, **named)


def install() -> None:
    """Change the interpreter of this process."""
    language = tl.range
    transform = interpreter.FunctionRewriter._transform_ast

    def renamed(self: Any, source: str) -> Any:
        self.fn.__globals__[NAME] = _indexes(range)
        return _Renamer().visit(transform(self, source))

    tl.range = tl.core.range = _indexes(language)
    interpreter.FunctionRewriter._transform_ast = renamed


def _indexes(original: Callable[..., Any]) -> Callable[..., Iterator[Index]]:
    return lambda *args, **named: map(Index, original(*args, **named))


class _Renamer(ast.NodeTransformer):
    """Has loops over `range` use the one above."""

    def visit_For(self, node: ast.For) -> ast.AST:  # the name is ast's
        """Rename the function that is looped over."""
        self.generic_visit(node)
        call = node.iter
        if isinstance(call, ast.Call) and isinstance(call.func, ast.Name) and call.func.id == "range":
            call.func.id = NAME
        return node
