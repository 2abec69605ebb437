"""Give kernels in the interpreter loop variables that can be cast: on a GPU they are tensors with a method `to`.

`range` and `tl.range` in a kernel yield integers with that method.  Only the text of kernels is changed.  `Any` stands
for the interpreter's own objects: Triton ships no types.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator
from typing import Any

import triton.language as tl
from triton.runtime import interpreter

NAME = "kopt_range"


class Index(int):
    """A loop variable: an integer that can be cast like a scalar tensor."""

    def to(self, dtype: Any, *options: Any, **named: Any) -> Any:
        """Return the value as a scalar tensor of another type."""
        return interpreter._implicit_cvt(int(self)).to(dtype, *options, **named)


def install() -> None:
    """Patch the loops of this process's interpreter."""
    language_range = tl.range
    transform = interpreter.FunctionRewriter._transform_ast

    def renamed(self: Any, source: str) -> Any:
        self.fn.__globals__[NAME] = _indexes(range)
        return _Renamer().visit(transform(self, source))

    tl.range = tl.core.range = _indexes(language_range)
    interpreter.FunctionRewriter._transform_ast = renamed


def _indexes(original: Callable[..., Any]) -> Callable[..., Iterator[Index]]:
    """Wrap a range so that it yields loop variables."""
    return lambda *args, **named: map(Index, original(*args, **named))


class _Renamer(ast.NodeTransformer):
    """Replace `range` in the head of every loop by the name of the range that yields `Index`."""

    def visit_For(self, node: ast.For) -> ast.AST:  # the name is ast's
        """Rename the function whose result is looped over."""
        self.generic_visit(node)
        call = node.iter
        if isinstance(call, ast.Call) and isinstance(call.func, ast.Name) and call.func.id == "range":
            call.func.id = NAME
        return node
