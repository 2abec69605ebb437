"""Read a kernel's syntax tree: its jitted functions, their calls, what depends on the program's id."""

from __future__ import annotations

import ast
import copy
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from functools import cached_property

Function = ast.FunctionDef
_LOOPS = (ast.For, ast.While)


@dataclass(frozen=True)
class Source:
    """A module's text with its syntax tree, which is empty when the text is no Python."""

    lines: tuple[str, ...]
    tree: ast.Module

    @cached_property
    def kernels(self) -> list[Function]:
        """Functions decorated with something called `jit`, in order."""
        return [node for node in self.walk() if isinstance(node, Function) and _jitted(node)]

    def walk(self) -> Iterator[ast.AST]:
        """Yield every node of the tree."""
        return ast.walk(self.tree)

    def line(self, node: ast.AST) -> tuple[str, str]:
        """Return where a node stands (`source:41`) and the text of its line."""
        number = getattr(node, "lineno", 1)
        text = self.lines[number - 1].strip() if 0 < number <= len(self.lines) else ""
        return f"source:{number}", text


def without_dead_kernels(source: Source, launched: Collection[str]) -> Source:
    """Return a source without the kernels that nothing launches, and without calls that would launch them.

    Lines keep their numbers.
    """
    dead = dead_kernels(source.tree, launched)
    if not dead:
        return source
    return Source(source.lines, _Living(dead).visit(copy.deepcopy(source.tree)))


def dead_kernels(tree: ast.Module, launched: Collection[str] = ()) -> frozenset[str]:
    """Name the jitted functions at a module's top level that never run.

    Args:
        tree: the module.
        launched: names of the kernels that were seen to be launched.  Where there are none, or the module does not
            define all of them, a kernel lives that anything but a dead kernel names; all do where nothing names one.
    """
    jitted = {node.name: node for node in tree.body if isinstance(node, Function) and _jitted(node)}
    rest = [node for node in tree.body if node not in jitted.values()]
    living = set(launched) if jitted.keys() >= set(launched) else set()
    living = living or set().union(*map(_mentioned, rest)) & jitted.keys() or set(jitted)
    while more := set().union(*(names(jitted[name]) for name in living)) & jitted.keys() - living:
        living |= more
    return frozenset(jitted.keys() - living)


def _mentioned(node: ast.AST) -> set[str]:
    """List the names that a node reads, and its strings, which may be names that are looked up."""
    strings = (one.value for one in ast.walk(node) if isinstance(one, ast.Constant) and isinstance(one.value, str))
    return names(node) | set(strings)


class _Living(ast.NodeTransformer):
    def __init__(self, dead: frozenset[str]) -> None:
        self._dead = dead

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST | None:
        return None if node.name in self._dead and _jitted(node) else self.generic_visit(node)

    def visit_Expr(self, node: ast.Expr) -> ast.AST | None:
        call = node.value
        if isinstance(call, ast.Call) and isinstance(call.func, ast.Subscript):
            return None if last_name(call.func.value) in self._dead else node
        return node


def read(text: str) -> Source:
    """Parse a module; text that is no Python gives an empty tree."""
    try:
        tree = ast.parse(text)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        tree = ast.Module(body=[], type_ignores=[])
    return Source(tuple(text.splitlines()), tree)


def called(node: ast.AST) -> str:
    """Return the last name of what a call calls (`dot` for `tl.dot(...)`), empty for other nodes."""
    if not isinstance(node, ast.Call):
        return ""
    return last_name(node.func)


def last_name(node: ast.AST) -> str:
    """Return the last part of a dotted name, empty for other nodes."""
    if isinstance(node, ast.Attribute):
        return node.attr
    return node.id if isinstance(node, ast.Name) else ""


def calls(node: ast.AST, *names: str) -> list[ast.Call]:
    """Find the calls below a node of anything with one of these last names, in order of the text."""
    matches = [call for call in ast.walk(node) if isinstance(call, ast.Call) and called(call) in names]
    return sorted(matches, key=lambda call: (call.lineno, call.col_offset))


def keyword(call: ast.Call, name: str) -> ast.expr | None:
    """Return the value of a keyword argument, None without one."""
    return next((k.value for k in call.keywords if k.arg == name), None)


def number(node: ast.AST | None) -> int | None:
    """Return the value of an integer literal, None for other nodes."""
    if isinstance(node, ast.Constant) and isinstance(node.value, int) and not isinstance(node.value, bool):
        return node.value
    return None


def names(node: ast.AST | None) -> set[str]:
    """List the names that an expression reads."""
    return {name.id for name in ast.walk(node) if isinstance(name, ast.Name)} if node is not None else set()


def loops(node: ast.AST) -> list[ast.For | ast.While]:
    """Find the loops below a node, in order of the text."""
    return sorted((loop for loop in ast.walk(node) if isinstance(loop, _LOOPS)), key=lambda loop: loop.lineno)


def assignments(node: ast.AST) -> list[tuple[set[str], ast.expr, ast.stmt]]:
    """Find every assignment below a node, in order of the text: the names assigned, the expression, the statement."""
    entries: list[tuple[set[str], ast.expr, ast.stmt]] = []
    for statement in ast.walk(node):
        if isinstance(statement, ast.Assign):
            entries.append((set().union(*(names(t) for t in statement.targets)), statement.value, statement))
        elif isinstance(statement, ast.AugAssign | ast.AnnAssign) and statement.value is not None:
            entries.append((names(statement.target), statement.value, statement))
    return sorted(entries, key=lambda entry: (entry[2].lineno, entry[2].col_offset))


def depends_on(kernel: ast.AST, seeds: set[str]) -> set[str]:
    """Find the names whose values depend on the seeds through assignments, seeds included."""
    reached = set(seeds)
    read = [(targets, names(value)) for targets, value, _ in assignments(kernel)]
    while True:
        more = {name for targets, values in read if values & reached for name in targets}
        if more <= reached:
            return reached
        reached |= more


def program_names(kernel: Function) -> set[str]:
    """Find the names that are assigned directly from `program_id`."""
    return {n for targets, value, _ in assignments(kernel) if calls(value, "program_id") for n in targets}


def on_programs(node: ast.AST, tainted: set[str]) -> bool:
    """Return whether an expression reads the program's place in the grid."""
    return bool(names(node) & tainted) or bool(calls(node, "program_id"))


def accumulators(loop: ast.AST) -> set[str]:
    """Find the names that a loop carries: updated from their own value."""
    carried = {n for line in ast.walk(loop) if isinstance(line, ast.AugAssign) for n in names(line.target)}
    plain = {n for targets, value, _ in assignments(loop) for n in targets & names(value)}
    return carried | plain


def launch_calls(tree: ast.AST) -> list[ast.Call]:
    """Find the calls of the form `kernel[grid](...)`, in order of the text."""
    matches = [call for call in ast.walk(tree) if isinstance(call, ast.Call) and isinstance(call.func, ast.Subscript)]
    return sorted(matches, key=lambda call: (call.lineno, call.col_offset))


def blocks(node: ast.AST) -> Iterator[list[ast.stmt]]:
    """Yield every list of statements below a node."""
    for parent in ast.walk(node):
        for field in ("body", "orelse", "finalbody"):
            body = getattr(parent, field, None)
            if isinstance(body, list) and body and isinstance(body[0], ast.stmt):
                yield body


def _jitted(function: Function) -> bool:
    return any(last_name(d.func if isinstance(d, ast.Call) else d) == "jit" for d in function.decorator_list)
