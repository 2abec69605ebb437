"""Put a module together from the blocks of a reply: a host function and its kernels may stand in several blocks."""

from __future__ import annotations

import ast
import builtins
import re
from collections.abc import Sequence
from typing import NamedTuple

from kopt.llm.text.blocks import parsed


class Unit(NamedTuple):
    """A block that parses."""

    source: str
    tree: ast.Module


class Module(NamedTuple):
    """A source that defines the entry point."""

    source: str
    has_kernel: bool
    """Whether there is a Triton kernel in it."""


def units_in(blocks: Sequence[str]) -> list[Unit]:
    """Return the blocks that parse."""
    return [Unit(block, tree) for block in blocks if (tree := parsed(block)) is not None]


def modules_in(units: Sequence[Unit], entry: str) -> list[Module]:
    """Return each block that defines the entry point, joined with the blocks that define what this block lacks.

    Kernels that nothing launches by name are joined to a block that has none: it may launch them in another way.
    """
    parts = [unit for unit in units if not _mentions(unit.tree, entry) and _onlydefines(unit.tree)]
    kernels = [part for part in parts if has_kernel(part.tree)]
    modules = []
    for unit in units:
        if entry in bound_names(unit.tree):
            joined = [*_providers(unit, parts), unit]
            if not any(has_kernel(part.tree) for part in joined):
                joined = [*(part for part in kernels if part not in joined), *joined]
            source = _joined([part.source for part in joined])
            modules.append(Module(source, any(has_kernel(part.tree) for part in joined)))
    return modules


def _providers(unit: Unit, parts: Sequence[Unit]) -> list[Unit]:
    """Return the blocks that define names which a block uses and does not define, what they need first.

    Of several blocks that define a name, the last one is meant.
    """
    chosen: list[Unit] = []
    wanted = [_lacking(unit.tree)]
    while wanted:
        names = wanted.pop(0)
        for part in reversed(parts):
            bound = set(bound_names(part.tree, imports=True)) & names
            if bound and part not in chosen:
                chosen.append(part)
                wanted.append(_lacking(part.tree))
            names -= bound
    return chosen[::-1]


def _joined(sources: Sequence[str]) -> str:
    """Join sources to one module; imports from the future must come first."""
    if len(sources) == 1:
        return sources[0]
    future = re.compile(r"^from __future__ import [^\n]*\n?", re.MULTILINE)
    lines = dict.fromkeys(line.strip() for source in sources for line in future.findall(source))
    return "\n\n".join([*lines, *(future.sub("", source).strip("\n") + "\n" for source in sources)])


def has_kernel(tree: ast.Module) -> bool:
    """Return whether a module defines a function under a decorator `jit`, `triton.jit` or `triton.jit(...)`."""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef):
            for decorator in node.decorator_list:
                named = decorator.func if isinstance(decorator, ast.Call) else decorator
                if getattr(named, "attr", getattr(named, "id", "")) == "jit":
                    return True
    return False


def defines(block: str, entry: str) -> bool:
    """Return whether a block parses and defines the entry point."""
    tree = parsed(block)
    return tree is not None and entry in bound_names(tree)


def bound_names(tree: ast.Module, *, imports: bool = False) -> list[str]:
    """Return the names that a module binds at its top level: functions, classes, variables, and imports if asked."""
    names = []
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            names.append(node.name)
        elif isinstance(node, ast.Assign):
            names += [target.id for target in node.targets if isinstance(target, ast.Name)]
        elif imports and isinstance(node, ast.Import | ast.ImportFrom):
            names += [(alias.asname or alias.name).partition(".")[0] for alias in node.names]
    return names


def _lacking(tree: ast.Module) -> set[str]:
    """Return the names that a module reads and binds nowhere."""
    read, bound = set[str](), set(dir(builtins))
    for node in ast.walk(tree):
        if isinstance(node, ast.Name):
            (read if isinstance(node.ctx, ast.Load) else bound).add(node.id)
        elif isinstance(node, ast.arg):
            bound.add(node.arg)
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            bound.add(node.name)
        elif isinstance(node, ast.alias):
            bound.add((node.asname or node.name).partition(".")[0])
    return read - bound


DEFINITIONS = (
    ast.Import, ast.ImportFrom, ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Assign, ast.AnnAssign, ast.Try,
)  # fmt: skip


def _onlydefines(tree: ast.Module) -> bool:
    """Return whether a module does nothing but define names: a test or an example of use does more."""
    return all(isinstance(node, DEFINITIONS) or _is_docstring(node) for node in tree.body)


def _is_docstring(node: ast.stmt) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)


def _mentions(tree: ast.Module, entry: str) -> bool:
    return entry in bound_names(tree) or any(isinstance(node, ast.Name) and node.id == entry for node in ast.walk(tree))


def shape(source: str) -> str:
    """Return what two sources have in common that differ in comments and layout alone; empty for no module."""
    tree = parsed(source)
    try:
        return "" if tree is None else ast.dump(tree)
    except RecursionError:
        return ""
