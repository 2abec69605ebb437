"""Copy the functions of TorchInductor that its kernels call, so that a seed does not import TorchInductor."""

from __future__ import annotations

import ast
import inspect
import re
import textwrap
from collections.abc import Iterable
from typing import Any  # a module of TorchInductor's

from kopt.errors import SeedError

_CONSTANTS = {"_LOG_2_E": "_LOG_2_E = tl.constexpr(1.4426950408889634)"}

_UNWEIGHTED = re.compile(r"(delta) \* \1 \* (weight_1 \* w2_over_w)")
"""Part of Welford's sums where a part without elements gives NaN, 0 times infinity, once the square overflows."""


def helper_texts(names: Iterable[str], module: Any) -> list[str]:
    """Return the texts of functions, and of what they call, callees first.

    Args:
        names: names of functions of `torch._inductor.runtime.triton_helpers`.
        module: that module.

    Raises:
        SeedError: one of them is no function of Triton's.
    """
    texts: dict[str, str] = {}
    for name in sorted(set(names)):
        _add(name, module, texts)
    return list(texts.values())


def _add(name: str, module: Any, texts: dict[str, str]) -> None:
    if name in texts:
        return
    if name in _CONSTANTS:
        texts[name] = _CONSTANTS[name]
        return
    function = getattr(getattr(module, name, None), "fn", None)
    if function is None:
        raise SeedError(f"a kernel calls triton_helpers.{name}, which is no function of Triton's")
    tree = ast.parse(textwrap.dedent(inspect.getsource(function)))
    called = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)} - {name}
    for other in sorted(called):
        if other in _CONSTANTS or hasattr(getattr(module, other, None), "fn"):
            _add(other, module, texts)
        elif other == "_log2":
            raise SeedError(f"a kernel calls triton_helpers.{name}, which uses private parts of Triton")
    texts[name] = _UNWEIGHTED.sub(r"\1 * (\1 * (\2))", ast.unparse(_Plain().visit(tree)))


class _Plain(ast.NodeTransformer):
    """Write Triton's mathematics by its public name, and leave out docstrings."""

    def visit_Attribute(self, node: ast.Attribute) -> ast.AST:
        self.generic_visit(node)
        if isinstance(node.value, ast.Name) and node.value.id == "math":
            node.value = ast.Attribute(ast.Name("tl", ast.Load()), "math", ast.Load())
        return node

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        self.generic_visit(node)
        if ast.get_docstring(node) and len(node.body) > 1:
            node.body = node.body[1:]
        return node
