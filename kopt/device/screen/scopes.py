"""Find the names of a source that are local variables, and so do not stand for an import of the same name.

With `import torch.nn.functional as F` at the top and `rows, F = x.shape` in a function, `F` is a number there.
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
    """Return the identities (`id`) of names that stand for a local variable, which is neither module nor import."""
    modules = {id(node) for node in renames(tree) if any(map(is_module, paths(node.value, names)))}
    local: set[int] = set()
    left: list[tuple[ast.AST, frozenset[str]]] = [(tree, frozenset())]
    while left:
        node, own = left.pop()
        if isinstance(node, ast.Name) and node.id in own:
            local.add(id(node))
        inside, body = _inside(node, own, modules)
        left += [(child, inside if child in body else own) for child in ast.iter_child_nodes(node)]
    return local


def _inside(node: ast.AST, own: frozenset[str], modules: set[int]) -> tuple[frozenset[str], set[ast.AST]]:
    """Return the local names inside a node, and its body; defaults, decorators and annotations are outside the body."""
    if isinstance(node, Function):
        body: set[ast.AST] = {*node.body} if isinstance(node.body, list) else {node.body}
        return (own | _bound(node)) - _taken(node, modules), body
    if isinstance(node, ast.ClassDef):
        return own - {part.id for part in _within(node.body) if isinstance(part, ast.Name)}, {*node.body}
    return own, set()


def _bound(function: Function) -> set[str]:
    """Return the names that a function's parameters and statements bind, without those of comprehensions."""
    arguments = [node for node in ast.walk(function.args) if isinstance(node, ast.arg)]
    stored = [node for node in _inner(function) if isinstance(node, ast.Name) and not isinstance(node.ctx, ast.Load)]
    return {node.arg for node in arguments} | {node.id for node in stored}


def _taken(function: Function, modules: set[int]) -> set[str]:
    """Return the names that may stand for a module in a function: imported, assigned or declared global there."""
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
    """Yield the nodes of statements, without the insides of functions, classes and comprehensions among them."""
    left = list(nodes)
    while left:
        node = left.pop()
        yield node
        if not isinstance(node, (*_SCOPES, *_COMPREHENSIONS)):
            left += ast.iter_child_nodes(node)
