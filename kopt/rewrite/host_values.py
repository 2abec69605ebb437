"""Work out integers that a launching function computes, from the numbers that the parent's launches passed."""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping
from math import prod
from types import MappingProxyType

import libcst as cst

from kopt.rewrite.source import syntax
from kopt.rewrite.source.module import Launch, TritonModule
from kopt.rewrite.transformation import RewriteFacts, largest_argument

OPERATORS: Mapping[type[cst.CSTNode], Callable[[int, int], int]] = {
    cst.Add: operator.add, cst.Subtract: operator.sub, cst.Multiply: operator.mul, cst.FloorDivide: operator.floordiv,
    cst.Modulo: operator.mod, cst.LessThanEqual: operator.le, cst.Equal: operator.eq, cst.LessThan: operator.lt,
}  # fmt: skip
DEPTH = 12
NOTHING_CHANGED: Mapping[cst.CSTNode, int] = MappingProxyType({})


def host_value(
    node: cst.BaseExpression,
    launch: Launch,
    module: TritonModule,
    facts: RewriteFacts,
    changed: Mapping[cst.CSTNode, int] = NOTHING_CHANGED,
) -> int | None:
    """Work out an expression of the launching function; None where it holds what is not known.

    A number that differs between launches counts with its largest value.

    Args:
        node: the expression.
        launch: a launch of that function.
        module: the module of both.
        facts: what the parent's launches passed.
        changed: values that stand in place of literals.
    """
    passed = [(a.value.value, name) for name, a in launch.arguments.items() if isinstance(a.value, cst.Name)]

    def known(name: str) -> int | None:
        values = (largest_argument(launch, parameter, facts) for variable, parameter in passed if variable == name)
        return next((value for value in values if value is not None), None)

    try:
        return _value(node, launch, module, known, changed, DEPTH)
    except (ZeroDivisionError, OverflowError):
        return None


def count_tiles(
    launch: Launch, module: TritonModule, facts: RewriteFacts, changed: Mapping[cst.CSTNode, int] = NOTHING_CHANGED
) -> int | None:
    """Count the tiles of a launch: its programs, or those that a persistent grid stands for; None if it is not known.

    Args as for `host_value`.
    """
    counted = [a.value for n in range(3) if (a := launch.arguments.get(f"programs_{n}")) is not None]
    elements = counted or (list(launch.grid.elements) if launch.grid is not None else [])
    found = [host_value(each, launch, module, facts, changed) for each in elements]
    numbers = [number for number in found if number is not None]
    return prod(numbers) if numbers and len(numbers) == len(found) else None


def _value(
    node: cst.BaseExpression,
    launch: Launch,
    module: TritonModule,
    known: Callable[[str], int | None],
    changed: Mapping[cst.CSTNode, int],
    depth: int,
) -> int | None:
    def part(each: cst.BaseExpression) -> int | None:
        return _value(each, launch, module, known, changed, depth - 1)

    if depth == 0:
        return None
    match node:
        case cst.Integer():
            return changed.get(node, node.evaluated_value)
        case cst.Name():
            bound = module.resolve(node, launch.function)
            inner = part(bound) if bound is not None and not isinstance(bound, cst.Name) else None
            return inner if inner is not None else known(node.value)
        case cst.BinaryOperation():
            return _applied(type(node.operator), part(node.left), part(node.right))
        case cst.Comparison() if len(node.comparisons) == 1:
            (compared,) = node.comparisons
            return _applied(type(compared.operator), part(node.left), part(compared.comparator))
        case cst.IfExp():
            test = part(node.test)
            return None if test is None else part(node.body if test else node.orelse)
        case cst.Call():
            return _called(syntax.called(node), [part(a.value) for a in node.args])
    return None


def _applied(kind: type[cst.CSTNode], left: int | None, right: int | None) -> int | None:
    function = OPERATORS.get(kind)
    return int(function(left, right)) if function and left is not None and right is not None else None


def _called(name: str, values: list[int | None]) -> int | None:
    numbers = [v for v in values if v is not None]
    if len(numbers) != len(values) or not numbers:
        return None
    match name, numbers:
        case "max", _:
            return max(numbers)
        case "min", _:
            return min(numbers)
        case "triton.next_power_of_2", [number] if number > 0:
            return 1 << (number - 1).bit_length()
        case "triton.cdiv", [number, by] if by:
            return -(-number // by)
    return None
