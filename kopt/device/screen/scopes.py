"""Names of a source that are local variables: what an import binds to the same name elsewhere, they do not stand for.

`import torch.nn.functional as F` at the top, and `rows, F = x.shape` in a function: there, `F` is a number.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator

from kopt.device.screen.names import Roots, paths, renames
from kopt.device.screen.reach import is_module

Function = ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda
_SCOPES = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda, ast.ClassDef)
_COMPREHENSIONS = (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)


def local_names(tree: ast.Module, names: Roots) -> set[int]:
    """Identities of those names that stand for a function's own variable, which is no module and no import."""
    modules = {id(node) for node in renames(tree) if any(map(is_module, paths(node.value, names)))}
    found: set[int] = set()
    left: list[tuple[ast.AST, frozenset[str]]] = [(tree, frozenset())]
    while left:
        node, own = left.pop()
        if isinstance(node, ast.Name) and node.id in own:
            found.add(id(node))
        inside, body = _inside(node, own, modules)
        left += [(child, inside if child in body else own) for child in ast.iter_child_nodes(node)]
    return found


def _inside(node: ast.AST, own: frozenset[str], modules: set[int]) -> tuple[frozenset[str], set[ast.AST]]:
    """A scope's own names and its body; defaults, decorators and annotations belong to what is around it."""
    if isinstance(node, Function):
        body: set[ast.AST] = {*node.body} if isinstance(node.body, list) else {node.body}
        return (own | _bound(node)) - _taken(node, modules), body
    if isinstance(node, ast.ClassDef):
        return own - {one.id for one in _within(node.body) if isinstance(one, ast.Name)}, {*node.body}
    return own, set()


def _bound(function: Function) -> set[str]:
    """Names that a function's parameters and statements bind, less those of comprehensions."""
    arguments = [one for one in ast.walk(function.args) if isinstance(one, ast.arg)]
    stored = [one for one in _inner(function) if isinstance(one, ast.Name) and not isinstance(one.ctx, ast.Load)]
    return {one.arg for one in arguments} | {one.id for one in stored}


def _taken(function: Function, modules: set[int]) -> set[str]:
    """Names that may stand for a module in a function all the same: imported or assigned there, or declared global."""
    taken: set[str] = set()
    for node in _inner(function):
        if isinstance(node, ast.Import | ast.ImportFrom):
            taken |= {alias.asname or alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.Global | ast.Nonlocal):
            taken |= set(node.names)
        elif isinstance(node, ast.Assign) and id(node) in modules:
            taken |= {target.id for target in node.targets if isinstance(target, ast.Name)}
    return taken


def _inner(function: Function) -> Iterator[ast.AST]:
    return _within(function.body if isinstance(function.body, list) else [function.body])


def _within(nodes: Iterable[ast.AST]) -> Iterator[ast.AST]:
    """What is in statements, but not in functions, classes and comprehensions in them."""
    left = list(nodes)
    while left:
        node = left.pop()
        yield node
        if not isinstance(node, (*_SCOPES, *_COMPREHENSIONS)):
            left += ast.iter_child_nodes(node)
