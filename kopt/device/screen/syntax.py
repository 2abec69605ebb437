"""Refuse a source that does not parse, or that defines no entry point."""

from __future__ import annotations

import ast
import warnings

from kopt.device.reference.rejection import bounded
from kopt.model.build import BuildFailed, Phase
from kopt.model.kernel import Kernel

TOO_DEEP = "the source is nested too deeply to be parsed"


def check_syntax(kernel: Kernel) -> BuildFailed | None:
    """Return the failure of a source that does not parse, or binds no name like the entry point; None for any other."""
    try:
        with warnings.catch_warnings(action="ignore"):
            tree = ast.parse(kernel.source)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        return BuildFailed(phase=Phase.SYNTAX, reason=bounded(_reason(error)))
    if not kernel.source.strip():
        return BuildFailed(phase=Phase.ENTRY, reason=f"the file is empty: it is to define a function {kernel.entry}")
    bound = {name for node in ast.walk(tree) for name in _names(node)}
    if not bound & {kernel.entry, "*"}:
        return BuildFailed(phase=Phase.ENTRY, reason=f"the module defines no function {kernel.entry}")
    return None


def _reason(error: Exception) -> str:
    """Describe a parser's error: line, message and text of the line, as far as the error has them."""
    line = getattr(error, "lineno", None)
    text = (getattr(error, "text", None) or "").strip()
    message = getattr(error, "msg", "") or str(error) or TOO_DEEP
    return (f"line {line}: " if line else "") + message + (f"\n  {text}" if text else "")


def _names(node: ast.AST) -> tuple[str, ...]:
    """Return the names that a node may bind in its module; `*` for an import of all names."""
    if isinstance(node, ast.FunctionDef | ast.ClassDef | ast.AsyncFunctionDef):
        return (node.name,)
    if isinstance(node, ast.Name):
        return (node.id,)
    if isinstance(node, ast.alias):
        return (node.asname or node.name,)
    return ()
