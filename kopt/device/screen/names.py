"""Resolve what the names of a source stand for, as dotted paths from its imports.

A name may be bound more than once, or be assigned from another name; every meaning that it may have counts, whatever
the scope.  Names are not followed through lists, arguments and the like: `rules` refuses modules that go there.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping

from kopt.device.screen.reach import is_module, same_module

MEANINGS, ROUNDS, PARTS = 16, 16, 8
"""Most meanings of a name that are counted, modules aside; most passes in which assignments are followed; most parts of
a path that an assignment is followed to, modules aside."""

Path = tuple[str, ...]
"""A dotted name, e.g. `("torch", "nn", "functional")`."""
Roots = Mapping[str, frozenset[Path]]
"""Dotted paths from an import that each name may stand for, by name."""


def chain(node: ast.AST) -> tuple[str, ...]:
    """Return the names of `a.b.c` or `getattr(a.b, "c")`; empty for an expression that does not begin with a name."""
    parts: list[str] = []
    while not isinstance(node, ast.Name):
        if isinstance(node, ast.Attribute):
            parts.append(node.attr)
            node = node.value
        elif read := _read_by_getattr(node):
            node, name = read
            parts.append(name)
        else:
            return ()
    return (node.id, *reversed(parts))


def base(node: ast.AST) -> ast.AST:
    """Return the expression with which `a.b.c` or `getattr(a.b, "c")` begins."""
    while not isinstance(node, ast.Name):
        if isinstance(node, ast.Attribute):
            node = node.value
        elif read := _read_by_getattr(node):
            node = read[0]
        else:
            break
    return node


def _read_by_getattr(node: ast.AST) -> tuple[ast.AST, str] | None:
    """Return the object and the literal name that a `getattr` reads; None for any other node."""
    match node:
        case ast.Call(func=ast.Name(id="getattr"), args=[owner, ast.Constant(value=str(name)), *_]):
            return owner, name
    return None


def paths(node: ast.AST, names: Roots) -> tuple[Path, ...]:
    """Return the dotted paths that a name or attribute may stand for; empty when it does not begin at an import."""
    parts = chain(node)
    return tuple((*root, *parts[1:]) for root in sorted(names.get(parts[0], ()))) if parts else ()


def roots(tree: ast.Module) -> Roots | None:
    """Return what names stand for that are bound by an import, or assigned from such names.

    Returns:
        None when names are assigned from names so often that they cannot be followed.
    """
    bound: dict[str, frozenset[Path]] = {}
    for name, path in _imports(tree):
        bound[name] = bound.get(name, frozenset()) | {same_module(path)}
    renamed = [node for node in renames(tree) if chain(node.value)]
    for _ in range(ROUNDS):
        before = dict(bound)
        for node in renamed:
            for target in (target.id for target in node.targets if isinstance(target, ast.Name)):
                for path in paths(node.value, bound):
                    meanings = bound.get(target, frozenset())
                    if (len(meanings) < MEANINGS and len(path) <= PARTS) or is_module(path):
                        bound[target] = meanings | {same_module(path)}
        if bound == before:
            return bound
    return None


def _imports(tree: ast.Module) -> Iterator[tuple[str, Path]]:
    """Yield each name that an import binds, with the path that it stands for."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                parts = tuple(alias.name.split("."))
                yield (alias.asname, parts) if alias.asname else (parts[0], parts[:1])
        elif isinstance(node, ast.ImportFrom) and not node.level:
            for alias in node.names:
                yield alias.asname or alias.name, (*(node.module or "").split("."), alias.name)


def renames(tree: ast.Module) -> list[ast.Assign]:
    """Return the assignments to names alone, without those in a class body, whose names are attributes."""
    in_class = {id(part) for node in ast.walk(tree) if isinstance(node, ast.ClassDef) for part in _class_parts(node)}
    assignments = [node for node in ast.walk(tree) if isinstance(node, ast.Assign) and id(node) not in in_class]
    return [node for node in assignments if all(isinstance(target, ast.Name) for target in node.targets)]


def _class_parts(body: ast.ClassDef) -> Iterator[ast.AST]:
    """Yield the nodes of a class outside its methods."""
    left: list[ast.AST] = [body]
    while left:
        inner = [child for child in ast.iter_child_nodes(left.pop()) if not isinstance(child, ast.FunctionDef)]
        yield from inner
        left += inner
