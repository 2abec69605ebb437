"""Give names to the sizes that a reference's source writes as plain numbers, so that a workload can override them.

`input_shape = (32768,)` becomes `input_shape_0 = 32768` and `input_shape = (input_shape_0,)`; a number in `get_inputs`
or `get_init_inputs` becomes a constant above the function.  The source is parsed, never run.
"""

from __future__ import annotations

import ast
from collections.abc import Collection, Iterator
from dataclasses import dataclass

INPUT_FUNCTIONS = ("get_inputs", "get_init_inputs", "forward_inputs")
LEAST = 2
"""Smallest number that may be a size to shrink."""
NARROW = ("int8", "uint8", "int16", "uint16")
"""Types of random integers that are values and no indexes."""


@dataclass(frozen=True)
class Literal:
    """A number in the source, and the constant that may replace it."""

    name: str
    value: int
    line: int
    """Line of the number, from 0."""
    start: int
    """Position of its first byte in the line."""
    end: int
    above: int
    """Line of the statement above which the constant is assigned, from 0."""


def constants(source: str) -> tuple[str, ...]:
    """Return the module constants that are assigned numbers alone, in order: `N = 2048 * 2`, not `K = 4 * N`."""
    return tuple(name for name, value in _assigned(source).items() if _is_arithmetic(value))


def whole_numbers(source: str) -> dict[str, int]:
    """Return the module constants that are assigned one whole number each, by name: `N = 2048` or `M, N = 64, 2048`."""
    return {
        name: part.value
        for name, part in _assigned(source).items()
        if isinstance(part, ast.Constant) and type(part.value) is int
    }


def _assigned(source: str) -> dict[str, ast.expr]:
    """Return what names are assigned at the top of a module, also several in one statement."""
    found: dict[str, ast.expr] = {}
    for statement in ast.parse(source).body:
        if isinstance(statement, ast.Assign):
            targets, value = statement.targets, statement.value
        elif isinstance(statement, ast.AnnAssign) and statement.value is not None:
            targets, value = [statement.target], statement.value
        else:
            continue
        if len(targets) == 1 and isinstance(targets[0], ast.Tuple) and isinstance(value, ast.Tuple):
            pairs = zip(targets[0].elts, value.elts, strict=False)
            found |= {name.id: part for name, part in pairs if isinstance(name, ast.Name)}
        elif all(isinstance(target, ast.Name) for target in targets):
            found |= {target.id: value for target in targets if isinstance(target, ast.Name)}
    return found


def literals(source: str) -> tuple[Literal, ...]:
    """Return the numbers that may be sizes and have no name, with a free name each."""
    tree = ast.parse(source)
    taken = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
    found = []
    for prefix, statement, number in _numbers(tree):
        count = 0
        while f"{prefix}_{count}" in taken:
            count += 1
        name = f"{prefix}_{count}"
        taken.add(name)
        assert isinstance(number.value, int)
        assert number.end_col_offset is not None
        above = min([statement.lineno, *(d.lineno for d in getattr(statement, "decorator_list", []))])
        found.append(
            Literal(name, number.value, number.lineno - 1, number.col_offset, number.end_col_offset, above - 1)
        )
    return tuple(found)


def named(source: str, names: Collection[str]) -> str:
    """Return the source with constants of these names in the place of their numbers."""
    chosen = [literal for literal in literals(source) if literal.name in names]
    lines = [line.encode() for line in source.splitlines(keepends=True)]
    for literal in sorted(chosen, key=lambda literal: (literal.line, literal.start), reverse=True):
        line = lines[literal.line]
        lines[literal.line] = line[: literal.start] + literal.name.encode() + line[literal.end :]
    for literal in reversed(chosen):
        lines[literal.above] = f"{literal.name} = {literal.value}\n".encode() + lines[literal.above]
    return b"".join(lines).decode()


def _numbers(tree: ast.Module) -> Iterator[tuple[str, ast.stmt, ast.Constant]]:
    """Yield the numbers with the start of their names and the statements that they are in."""
    for statement in tree.body:
        if isinstance(statement, ast.Assign) and isinstance(statement.value, ast.Tuple | ast.List):
            target = statement.targets[0]
            if isinstance(target, ast.Name) and statement.col_offset == 0:
                yield from ((target.id, statement, number) for number in numbers_in(statement.value))
        elif isinstance(statement, ast.FunctionDef) and statement.name in INPUT_FUNCTIONS:
            for part in statement.body:
                yield from (("size", statement, number) for number in numbers_in(part))


def numbers_in(node: ast.AST) -> Iterator[ast.Constant]:
    """Yield the numbers that may be sizes; the bounds of random integers of 8 and 16 bits are none."""
    bounds = {
        id(part)
        for call in ast.walk(node)
        if isinstance(call, ast.Call) and any(_is_narrow(word) for word in call.keywords)
        for bound in bounds_of(call)
        for part in ast.walk(bound)
    }
    for child in ast.walk(node):
        is_number = isinstance(child, ast.Constant) and type(child.value) is int and child.value >= LEAST
        if isinstance(child, ast.Constant) and is_number and id(child) not in bounds:
            yield child


def bounds_of(call: ast.Call) -> list[ast.expr]:
    """Return the arguments that bound the values of a call of `randint`; none of another call."""
    if ast.unparse(call.func).rpartition(".")[2] != "randint":
        return []
    shapes = [at for at, value in enumerate(call.args) if isinstance(value, ast.Tuple | ast.List)]
    before = call.args[: shapes[0]] if shapes else call.args
    return [*before, *(word.value for word in call.keywords if word.arg in ("low", "high"))]


def _is_narrow(word: ast.keyword) -> bool:
    return word.arg == "dtype" and ast.unparse(word.value).rpartition(".")[2] in NARROW


def _is_arithmetic(value: ast.expr) -> bool:
    parts = (ast.Constant, ast.BinOp, ast.UnaryOp, ast.operator, ast.unaryop)
    return all(isinstance(node, parts) for node in ast.walk(value))
