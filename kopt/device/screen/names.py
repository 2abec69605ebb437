"""What the names of a source stand for, as dotted paths from its imports.

A name may be bound more than once, or be a new name for another; each thing that it may stand for counts, whatever the
scope.  A module that goes where this does not follow (a list, an argument) is for the screen to refuse.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping

from kopt.device.screen.reach import is_module, same_module

MEANINGS, ROUNDS = 16, 16
"""How many things that are no modules a name may stand for before more are left out; how often names are followed."""

Path = tuple[str, ...]
Roots = Mapping[str, frozenset[Path]]
"""What names stand for: dotted paths from an import; each of several that may be meant counts."""


def chain(node: ast.AST) -> tuple[str, ...]:
    """The names of `a.b.c` or `getattr(a.b, "c")`; empty when something else than a name is at its beginning."""
    parts: list[str] = []
    while not isinstance(node, ast.Name):
        if isinstance(node, ast.Attribute):
            parts.append(node.attr)
            node = node.value
        elif got := _got(node):
            parts.append(got[1])
            node = got[0]
        else:
            return ()
    return (node.id, *reversed(parts))


def _got(node: ast.AST) -> tuple[ast.AST, str] | None:
    """Of what and which name a `getattr` with a plain name reads."""
    match node:
        case ast.Call(func=ast.Name(id="getattr"), args=[owner, ast.Constant(value=str(name)), *_]):
            return owner, name
    return None


def paths(node: ast.AST, names: Roots) -> tuple[Path, ...]:
    """The dotted paths of a name or attribute that begins at an import; empty for anything else."""
    parts = chain(node)
    return tuple((*root, *parts[1:]) for root in sorted(names.get(parts[0], ()))) if parts else ()


def roots(tree: ast.Module) -> Roots | None:
    """What stands for modules or what is in them: names bound by an import, or assigned from such.

    None when names are assigned from names so often that they cannot be followed.
    """
    bound: dict[str, frozenset[Path]] = {}
    for name, path in _imports(tree):
        bound[name] = bound.get(name, frozenset()) | {same_module(path)}
    renamed = [node for node in renames(tree) if chain(node.value)]
    for _ in range(ROUNDS):
        before = dict(bound)
        for node in renamed:
            for target in (one.id for one in node.targets if isinstance(one, ast.Name)):
                for path in paths(node.value, bound):
                    held = bound.get(target, frozenset())
                    if len(held) < MEANINGS or is_module(path):
                        bound[target] = held | {same_module(path)}
        if bound == before:
            return bound
    return None


def _imports(tree: ast.Module) -> Iterator[tuple[str, Path]]:
    """Names bound by imports, and the paths of what they stand for."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                parts = tuple(alias.name.split("."))
                yield (alias.asname, parts) if alias.asname else (parts[0], parts[:1])
        elif isinstance(node, ast.ImportFrom):
            for alias in node.names:
                yield alias.asname or alias.name, (*(node.module or "").split("."), alias.name)


def renames(tree: ast.Module) -> list[ast.Assign]:
    """Assignments to names alone; not those of a class, whose names are attributes."""
    held = {id(one) for node in ast.walk(tree) if isinstance(node, ast.ClassDef) for one in _own(node)}
    given = [node for node in ast.walk(tree) if isinstance(node, ast.Assign) and id(node) not in held]
    return [node for node in given if all(isinstance(target, ast.Name) for target in node.targets)]


def _own(body: ast.ClassDef) -> Iterator[ast.AST]:
    """What is in a class, but not in its methods."""
    left: list[ast.AST] = [body]
    while left:
        inner = [one for one in ast.iter_child_nodes(left.pop()) if not isinstance(one, ast.FunctionDef)]
        yield from inner
        left += inner
