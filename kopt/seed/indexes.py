"""Simplify the indexes of a kernel that TorchInductor wrote for sizes that change, so that its loads can be wide.

A reduction over all elements is split into rows whose length follows from the sizes.  TorchInductor computes that
length anew for each element and takes each index modulo the number of elements, beside a mask that says the same;
the compiler knows of neither that they are multiples of 16, and loads one element at a time.
"""

from __future__ import annotations

import ast
from collections import Counter
from collections.abc import Collection, Iterator, Mapping

_NOT_NEGATIVE = (ast.Add, ast.Mult, ast.FloorDiv, ast.Mod)
_PLACES = ("tl.arange", "tl.program_id", "tl.num_programs")


def without_modulo(function: ast.FunctionDef) -> None:
    """Write `index` in place of `index % count` where a mask of the load has `index < count`."""
    assigned, stores = _assigned(function), _stores(function)
    targets = (node.target for node in ast.walk(function) if isinstance(node, ast.For))
    loops = {target.id for target in targets if isinstance(target, ast.Name)}
    once = {name for name in loops | assigned.keys() if stores[name] == 1}
    _Loads(assigned, stores.keys() - once).visit(function)


def use_parameters(function: ast.FunctionDef, definitions: Mapping[str, str]) -> None:
    """Use a parameter where the kernel computes what the host has computed for it.

    Args:
        function: the kernel.
        definitions: variables of the host by the expression that is their value; a kernel's parameter that has a
            variable's name gets its value.
    """
    names = {argument.arg for argument in function.args.args}
    known = {text: name for text, name in definitions.items() if name in names}
    _Computed(known).visit(function)


def _assigned(function: ast.FunctionDef) -> dict[str, ast.expr]:
    """Return the expressions of the names that are assigned once."""
    found = [
        (node.targets[0].id, node.value)
        for node in ast.walk(function)
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name)
    ]
    counts = _stores(function)
    return {name: value for name, value in found if counts[name] == 1}


def _stores(function: ast.FunctionDef) -> Counter[str]:
    """Count how often each name is given a value."""
    names = (node for node in ast.walk(function) if isinstance(node, ast.Name))
    return Counter(node.id for node in names if isinstance(node.ctx, ast.Store))


class _Loads(ast.NodeTransformer):
    def __init__(self, assigned: Mapping[str, ast.expr], changing: Collection[str]) -> None:
        """Take the expressions of names that are assigned once, and the names that are assigned several times."""
        self._assigned, self._changing = assigned, changing

    def visit_Call(self, node: ast.Call) -> ast.AST:
        self.generic_visit(node)
        match node:
            case ast.Call(
                func=ast.Attribute(value=ast.Name("tl"), attr="load"),
                args=[
                    ast.BinOp(
                        left=ast.Name(), op=ast.Add(), right=ast.BinOp(left=index, op=ast.Mod(), right=count)
                    ) as at,
                    mask,
                    *_,
                ],
            ) if self._is_below(mask, index, count) and self._is_not_negative(index):
                at.right = index
        return node

    def _is_below(self, mask: ast.expr, index: ast.expr, count: ast.expr) -> bool:
        """Return whether a mask holds only where the index is less than the count."""
        for part in _conjunction(mask):
            match self._assigned.get(part.id) if isinstance(part, ast.Name) else part:
                case ast.Compare(left=left, ops=[ast.Lt()], comparators=[right]):
                    if self._same(left, index) and self._same(right, count):
                        return True
        return False

    def _same(self, node: ast.expr, other: ast.expr) -> bool:
        if isinstance(node, ast.Name) and node.id in self._assigned:
            node = self._assigned[node.id]
        match node:
            case ast.Call(func=ast.Attribute(value=inner, attr="to")):
                node = inner
        return ast.dump(node) == ast.dump(other)

    def _is_not_negative(self, node: ast.expr) -> bool:
        """Return whether an expression of places in a block and sizes is never negative."""
        match node:
            case ast.Name(name):
                if name in self._changing:
                    return False
                return name not in self._assigned or self._is_not_negative(self._assigned[name])
            case ast.Constant(int() as number):
                return number >= 0
            case ast.BinOp(left=left, op=op, right=right):
                return isinstance(op, _NOT_NEGATIVE) and self._is_not_negative(left) and self._is_not_negative(right)
            case ast.Subscript(value=inner) | ast.Call(func=ast.Attribute(value=inner, attr="to")):
                return self._is_not_negative(inner)
            case ast.Call(func=function):
                return ast.unparse(function) in _PLACES
        return False


def _conjunction(mask: ast.expr) -> Iterator[ast.expr]:
    match mask:
        case ast.BinOp(left=left, op=ast.BitAnd(), right=right):
            yield from _conjunction(left)
            yield from _conjunction(right)
        case _:
            yield mask


class _Computed(ast.NodeTransformer):
    def __init__(self, known: Mapping[str, str]) -> None:
        self._known = known

    def visit_BinOp(self, node: ast.BinOp) -> ast.AST:
        name = self._known.get(ast.unparse(node))
        return ast.Name(name, ast.Load()) if name else self.generic_visit(node)
