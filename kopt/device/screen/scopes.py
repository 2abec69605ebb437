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
    """Return the identities (`id`) of names that stand for a local variable, which is neither module nor import.

    So such a name is no built-in function either.
    """
    modules = {id(node) for node in renames(tree) if any(map(is_module, paths(node.value, names)))}
    local: set[int] = set()
    left: list[tuple[ast.AST, frozenset[str]]] = [(tree, frozenset())]
    while left:
        node, own = left.pop()
        if isinstance(node, ast.Name) and node.id in own:
            local.add(id(node))
        left += _parts(node, own, modules)
    return local


def _parts(node: ast.AST, own: frozenset[str], modules: set[int]) -> Iterator[tuple[ast.AST, frozenset[str]]]:
    """Yield the children of a node, each with the local names there.

    Defaults, decorators, annotations and the first iterable of a comprehension are outside the new scope.
    """
    inside, body = own, set[ast.AST]()
    if isinstance(node, Function):
        body = {*node.body} if isinstance(node.body, list) else {node.body}
        inside = (own | _bound(node)) - _taken(node, modules)
    elif isinstance(node, _COMPREHENSIONS):
        first = node.generators[0]
        targets = [name for part in node.generators for name in ast.walk(part.target)]
        inside = own | {name.id for name in targets if isinstance(name, ast.Name)}
        yield first.iter, own
        yield from ((part, inside) for part in (first.target, *first.ifs))
        yield from ((part, inside) for part in ast.iter_child_nodes(node) if part is not first)
        return
    elif isinstance(node, ast.ClassDef):
        body = {*node.body}
        inside = own - {part.id for part in _within(node.body) if isinstance(part, ast.Name)}
    yield from ((child, inside if child in body else own) for child in ast.iter_child_nodes(node))


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
