"""Remove from a kernel's module what nothing uses: parameters of kernels, functions, imports, variables.

What is found is a proposal: the kernel is judged without it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import libcst as cst

from kopt.rewrite.source import syntax
from kopt.rewrite.source.module import Kernel, TritonModule, parse

EFFECTS = ("store", "atomic", "copy_", "fill_", "zero_", "add_", "mul_", "device_print", "device_assert", "static_")
"""Parts of the names of calls for whose effects a variable may be assigned."""


@dataclass(frozen=True)
class Removal:
    """Nodes of a module that nothing uses."""

    what: str
    nodes: tuple[cst.CSTNode, ...]


def without_dead_code(source: str, entry: str) -> tuple[str, list[str]]:
    """Remove everything that nothing uses; return the text, and what was removed in words.

    Args:
        source: the kernel's module.
        entry: name of its entry point, which stays.
    """
    removed: list[str] = []
    while True:
        module = parse(source)
        found = next(removals(module, entry), None) if module else None
        shorter = _without(module, found) if module and found else None
        if found is None or shorter is None or shorter == source:
            return source, removed
        source = shorter
        removed.append(found.what)


def removals(module: TritonModule, entry: str) -> Iterator[Removal]:
    """Find what nothing uses, one after the other."""
    names = Counter(node.value for node in syntax.walk(module.tree) if isinstance(node, cst.Name))
    quoted = "\n".join(n.value for n in syntax.walk(module.tree) if isinstance(n, cst.SimpleString))
    for kernel in module.kernels:
        yield from _parameters(module, kernel, names)
    for statement in module.tree.body:
        if isinstance(statement, cst.FunctionDef):
            name = statement.name.value
            if name != entry and names[name] == 1 and name not in quoted:
                yield Removal(f"function {name}", (statement,))
            yield from _variables(statement)
        elif isinstance(statement, cst.SimpleStatementLine):
            yield from _imports(statement, names, quoted)


def _parameters(module: TritonModule, kernel: Kernel, names: Counter[str]) -> Iterator[Removal]:
    launches = module.launches_of(kernel)
    seen_everywhere = names[kernel.name] == 1 + len(launches) and not any(launch.opaque for launch in launches)
    if kernel.odd or kernel.autotuned or not launches or not seen_everywhere:
        return
    used = syntax.names(kernel.node.body)
    for parameter in kernel.parameters:
        if parameter.name not in used:
            arguments = [one.arguments[parameter.name] for one in launches if parameter.name in one.arguments]
            yield Removal(f"parameter {parameter.name} of {kernel.name}", (parameter.node, *arguments))


def _variables(function: cst.FunctionDef) -> Iterator[Removal]:
    """Find variables of a function that are assigned alone, for no effect of a call, and never read."""
    names = Counter(node.value for node in syntax.walk(function) if isinstance(node, cst.Name))
    for line in syntax.walk(function.body):
        if not isinstance(line, cst.SimpleStatementLine) or len(line.body) != 1:
            continue
        pair = syntax.assigned(line.body[0])
        if pair and names[pair[0]] == 1 and not any(map(_has_effect, syntax.walk(pair[1]))):
            yield Removal(f"variable {pair[0]} of {function.name.value}", (line,))


def _has_effect(node: cst.CSTNode) -> bool:
    if isinstance(node, cst.NamedExpr | cst.Await | cst.Yield):
        return True
    if not isinstance(node, cst.Call):
        return False
    name = syntax.called(node)
    return isinstance(node.func, cst.Subscript) or any(part in name for part in EFFECTS)


def _imports(line: cst.SimpleStatementLine, names: Counter[str], quoted: str) -> Iterator[Removal]:
    for statement in line.body:
        if not isinstance(statement, cst.Import | cst.ImportFrom) or isinstance(statement.names, cst.ImportStar):
            continue
        future = (
            isinstance(statement, cst.ImportFrom) and statement.module and syntax.code(statement.module) == "__future__"
        )
        for alias in statement.names:
            shown = alias.asname.name if alias.asname else alias.name
            bound = syntax.code(shown).partition(".")[0]
            mentions = sum(node.value == bound for node in syntax.walk(statement) if isinstance(node, cst.Name))
            if not future and names[bound] == mentions and bound not in quoted:
                yield Removal(f"import {bound}", (line,) if len(statement.names) == 1 else (alias,))


def _without(module: TritonModule, removal: Removal) -> str | None:
    try:
        left = module.tree.visit(_Remover(removal.nodes))
    except (cst.CSTValidationError, TypeError):
        return None
    return left.code if isinstance(left, cst.Module) else None


class _Remover(cst.CSTTransformer):
    """Remove nodes from a tree, with the commas that would be left over."""

    def __init__(self, nodes: Sequence[cst.CSTNode]) -> None:
        self._nodes = nodes

    def on_leave(
        self, original_node: cst.CSTNodeT, updated_node: cst.CSTNodeT
    ) -> cst.CSTNodeT | cst.RemovalSentinel | cst.FlattenSentinel[cst.CSTNodeT]:
        """Return the node without removed children, or remove it."""
        if any(node is original_node for node in self._nodes):
            return cst.RemoveFromParent()
        for name in ("args", "params", "names"):
            before, after = getattr(original_node, name, ()), getattr(updated_node, name, ())
            if isinstance(after, Sequence) and after and len(after) < len(before):
                last = after[-1].with_changes(comma=cst.MaybeSentinel.DEFAULT)
                return updated_node.with_changes(**{name: [*after[:-1], last]})
        return updated_node
