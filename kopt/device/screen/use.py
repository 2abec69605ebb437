"""Say why a candidate may not use what a dotted path names; where the name is imported does not matter."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from typing import NamedTuple

from kopt.device.screen.closed import (
    CLOSED,
    CLOSED_PATHS,
    DUNDERS,
    HARMLESS,
    HARMLESS_INSIDE,
    KERNEL_ATTRIBUTES,
    OPEN_PARTS,
    SETTINGS,
    TOLD_BY,
    VARIABLES,
)
from kopt.device.screen.names import Path, Roots, base, chain, paths
from kopt.device.screen.reach import foreign_module, is_installed


class Scope(NamedTuple):
    """The meanings of a source's names, and the packages that the source may use."""

    names: Roots
    """Imports that each name may stand for."""
    local: set[int]
    """Identities (`id`) of the names that stand for local variables."""
    reading: set[int]
    """Identities of the expressions of which a named part is read (`named_reads`)."""
    parents: dict[int, ast.Attribute]
    """The attribute that is read from a node, by the node's identity."""
    allowed: frozenset[str]
    """Packages that the source may use."""
    open: frozenset[str]
    """Packages from which the source may import all names at once."""

    def paths(self, node: ast.AST) -> tuple[Path, ...]:
        """Return the dotted paths from an import that a node may stand for; none if it begins at a local variable."""
        return () if id(base(node)) in self.local else paths(node, self.names)


def attributes_by_owner(tree: ast.Module) -> dict[int, ast.Attribute]:
    """Return the attribute that is read from each node, by the node's identity."""
    return {id(node.value): node for node in ast.walk(tree) if isinstance(node, ast.Attribute)}


def named_reads(tree: ast.Module) -> set[int]:
    """Return the identities of `x` in `x["NAME"]`, read, and in `"NAME" in x`, for names that no judge sets."""
    reads: set[int] = set()
    for node in ast.walk(tree):
        match node:
            case ast.Subscript(value, ast.Constant(str(name)), ast.Load()) | ast.Compare(
                ast.Constant(str(name)), [ast.In() | ast.NotIn()], [value]
            ):
                reads |= set() if name.startswith(TOLD_BY) else {id(value)}
    return reads


def is_closed(name: str) -> bool:
    """Return whether an attribute of this name is closed on whatever object of a package."""
    return name in CLOSED or (name.startswith("_") and name not in DUNDERS)


def is_closed_anywhere(name: str) -> bool:
    """Return whether an attribute of this name is closed also on an object that belongs to no package."""
    return name in CLOSED or (name.startswith("__") and name not in DUNDERS)


def is_hidden(name: str) -> bool:
    """Return whether a name with two underscores on both sides, one of Python's own, is closed to candidates."""
    return name.isidentifier() and name.startswith("__") and name.endswith("__") and name not in DUNDERS


def is_replaced(node: ast.Attribute, scope: Scope) -> str:
    """Return the name of what an assignment to an attribute replaces; empty when the object is the candidate's.

    The candidate's own objects are those that begin at no import: parameters, local variables, results of its
    functions.
    """
    if isinstance(node.ctx, ast.Load):
        return ""
    known = scope.paths(node)
    name = ".".join(chain(node)) or f"(...).{node.attr}"
    if any(path[:2] != SETTINGS for path in known):
        return name
    if node.attr in KERNEL_ATTRIBUTES and chain(node)[:1] not in (("self",), ("cls",)):
        return name
    root = node.value
    while isinstance(root, ast.Subscript | ast.Call | ast.Attribute):
        if isinstance(root, ast.Call) and isinstance(root.func, ast.Name) and root.func.id in ("type", "getattr"):
            return name
        root = root.func if isinstance(root, ast.Call) else root.value
        if not known and any(len(path) > 0 for path in scope.paths(root)):
            return name
    return ""


def faults_of_use(node: ast.Name | ast.Attribute, scope: Scope) -> Iterator[str]:
    """Yield why a name or attribute may not be read, in words that follow "the source"."""
    name = ".".join(chain(node)) or f"(...).{node.attr if isinstance(node, ast.Attribute) else ''}"
    known = scope.paths(node)
    if (
        isinstance(node, ast.Attribute)
        and is_closed_anywhere(node.attr)
        and (not known or node.attr.startswith("__"))
        and not _is_own_private(node, scope)
    ):
        yield f"uses {name}: {node.attr} is closed to kernels"
    for path in known:
        if not _leads_to_harmless(node, path, scope):
            yield from _fault_of_path(name, path, scope)


def _is_own_private(node: ast.Attribute, scope: Scope) -> bool:
    """Return whether an attribute is private to the candidate's class: `self.__rows`, which Python renames."""
    of_self = isinstance(node.value, ast.Name) and node.value.id == "self" and id(node.value) in scope.local
    return of_self and node.attr.startswith("__") and not node.attr.endswith("__")


def fault_of_part(path: Path, scope: Scope) -> str:
    """Return the name for which what a dotted path stands for is closed to kernels; empty when it is open."""
    harmless = max((len(open) for open in HARMLESS_INSIDE if path[: len(open)] == open), default=0)
    rest = path[max(harmless, 1) :]
    closed = next((part for part in rest if part in CLOSED or (is_closed(part) and not harmless)), "")
    return closed or (not harmless and _closed_path(path)) or foreign_module(path, scope.allowed)


def _fault_of_path(name: str, path: Path, scope: Scope) -> Iterator[str]:
    if path[0] not in scope.allowed:
        if is_installed(path[0]):
            parts = [".".join(part) for part in sorted(HARMLESS) if part[0] == path[0]]
            yield f"uses {name}: of {path[0]} a kernel may use {', '.join(parts) or 'nothing'}"
    elif closed := fault_of_part(path, scope):
        yield f"uses {name}: " + ("it is private" if closed.startswith("_") else f"{closed} is closed to kernels")


def _leads_to_harmless(node: ast.AST, path: Path, scope: Scope) -> bool:
    """Return whether a path, continued by the attributes that are read from its node, is open to candidates."""
    while not any(path[: len(part)] == part for part in HARMLESS) and path not in HARMLESS_INSIDE:
        if path == VARIABLES and id(node) in scope.reading:
            return True
        above = scope.parents.get(id(node))
        if above is None:
            return False
        node, path = above, (*path, above.attr)
    return True


def _closed_path(path: Path) -> str:
    """Return the name for which a dotted path is closed; empty when the path is open."""
    for module, parts in OPEN_PARTS.items():
        if path[: len(module)] == module and len(path) > len(module) and path[len(module)] not in parts:
            return path[len(module)]
    return next((closed[-1] for closed in CLOSED_PATHS if path[: len(closed)] == closed), "")
