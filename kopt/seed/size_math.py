"""Let functions keep sizes that the workloads change, in a reference: `math.sqrt(q.shape[-1])`, `int(0.5 * size)`.

Functions of `math`, NumPy and Python turn a symbol into the number that it stands for, or take the smaller of two sizes
by the numbers that they stand for, and the graph would hold for these sizes alone.  `isinstance(size, int)` is true of
symbols, too.
"""

from __future__ import annotations

import ast
import builtins
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import reduce
from types import ModuleType
from typing import Any  # sizes are numbers or torch's symbols

import numpy as np
import torch


@contextmanager
def symbols_in_math(reference: ModuleType, source: str) -> Iterator[None]:
    """Replace functions inside the block by ones that take torch's symbols.

    Args:
        reference: the module in which Python's own functions are replaced.
        source: its source.
    """
    own = [(module, name, getattr(module, name)) for module in (math, np) for name in _SYMBOLIC if name in vars(module)]
    changed = [(module, name, _either(function, _SYMBOLIC[name])) for module, name, function in own]
    changed += [(reference, name, new) for name, new in _BUILTINS.items() if _is_plain(name, source)]
    changed += [(torch.nn.functional, name, _BUILTINS[name]) for name in ("float", "int")]
    before = [(module, name, vars(module).get(name)) for module, name, _ in changed]
    for module, name, new in changed:
        setattr(module, name, new)
    try:
        yield
    finally:
        for module, name, old in before:
            if old is None:
                delattr(module, name)
            else:
                setattr(module, name, old)


def _is_plain(name: str, source: str) -> bool:
    """Return whether a source calls a function of Python, or asks for instances of it, and does nothing else with it.

    One that compares types (`type(size) is int`), or gives the name to torch as a dtype, needs Python's own.
    """
    tree = ast.parse(source)
    named = [node for node in ast.walk(tree) if isinstance(node, ast.Name) and node.id == name]
    plain: set[ast.AST] = set()
    for node in ast.walk(tree):
        match node:
            case ast.Call(func=ast.Name("isinstance"), args=[_, kinds]):
                plain |= set(ast.walk(kinds))
            case ast.Call(func=ast.Name() as func):
                plain.add(func)
            case ast.arg(annotation=ast.expr() as kind) | ast.AnnAssign(annotation=kind):
                plain |= set(ast.walk(kind))
            case ast.FunctionDef(returns=ast.expr() as kind):
                plain |= set(ast.walk(kind))
    return all(node in plain and isinstance(node.ctx, ast.Load) for node in named)


class _NumberKind(type):
    """A type of Python's numbers, of which torch's symbols are, too."""

    own: type
    symbol: type
    made_of_symbol: Callable[[Any], Any]

    def __instancecheck__(cls, value: object) -> bool:
        return isinstance(value, cls.own | cls.symbol)

    def __call__(cls, *values: Any, **named: Any) -> Any:
        return cls.made_of_symbol(values[0]) if _is_symbol(*values) else cls.own(*values, **named)


class _Float(metaclass=_NumberKind):
    own = float
    symbol = torch.SymFloat
    made_of_symbol = torch.sym_float


class _Int(metaclass=_NumberKind):
    own = int
    symbol = torch.SymInt
    made_of_symbol = torch.sym_int


def _is_symbol(*values: object) -> bool:
    return any(isinstance(value, torch.SymInt | torch.SymFloat) for value in values)


def _either(own: Callable[..., Any], symbolic: Callable[..., Any]) -> Callable[..., Any]:
    def called(*values: Any, **named: Any) -> Any:
        return symbolic(*values) if _is_symbol(*values) else own(*values, **named)

    return called


def _chosen(own: Callable[..., Any], symbolic: Callable[..., Any]) -> Callable[..., Any]:
    """Return the smallest or the largest of several numbers, or of an iterable of them."""

    def called(*values: Any, **named: Any) -> Any:
        of = list(values[0]) if len(values) == 1 else list(values)
        return reduce(symbolic, of) if _is_symbol(*of) and not named else own(of, **named)

    return called


def _log2(value: Any) -> Any:
    return torch._sym_log2(torch.sym_float(value))  # type: ignore[attr-defined]  # torch does not declare it


_SYMBOLIC: dict[str, Callable[..., Any]] = {
    "sqrt": lambda value: torch.sym_sqrt(torch.sym_float(value)),
    "log2": _log2,
    "log": lambda value, base=math.e: _log2(value) * (1 / math.log2(base)),
    "log10": lambda value: _log2(value) * math.log10(2),
}

_BUILTINS: dict[str, Any] = {
    "float": _Float,
    "int": _Int,
    "min": _chosen(builtins.min, torch.sym_min),
    "max": _chosen(builtins.max, torch.sym_max),
    "divmod": _either(builtins.divmod, lambda one, other: (one // other, one % other)),
    "len": lambda of: of.shape[0] if isinstance(of, torch.Tensor) and of.dim() else len(of),
}
