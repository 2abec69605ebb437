"""Work out integers that a launching function computes, from the numbers that the parent's launches passed."""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping

import libcst as cst

from kopt.rewrite.source import syntax
from kopt.rewrite.source.module import Launch, TritonModule
from kopt.rewrite.transformation import RewriteFacts, largest_argument

OPERATORS: Mapping[type[cst.CSTNode], Callable[[int, int], int]] = {
    cst.Add: operator.add, cst.Subtract: operator.sub, cst.Multiply: operator.mul, cst.FloorDivide: operator.floordiv,
    cst.Modulo: operator.mod, cst.LessThanEqual: operator.le, cst.Equal: operator.eq, cst.LessThan: operator.lt,
}  # fmt: skip
DEPTH = 12


def host_value(node: cst.BaseExpression, launch: Launch, module: TritonModule, facts: RewriteFacts) -> int | None:
    """Work out an expression of the launching function; None where it holds what is not known.

    A number that differs between launches counts with its largest value.
    """
    passed = {a.value.value: name for name, a in launch.arguments.items() if isinstance(a.value, cst.Name)}

    def known(name: str) -> int | None:
        return largest_argument(launch, passed[name], facts) if name in passed else None

    try:
        return _value(node, launch, module, known, DEPTH)
    except (ZeroDivisionError, OverflowError):
        return None


def _value(
    node: cst.BaseExpression, launch: Launch, module: TritonModule, known: Callable[[str], int | None], depth: int
) -> int | None:
    def part(each: cst.BaseExpression) -> int | None:
        return _value(each, launch, module, known, depth - 1)

    if depth == 0:
        return None
    match node:
        case cst.Integer():
            return node.evaluated_value
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
