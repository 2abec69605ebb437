"""Find the sizes for each value of which Triton compiles a kernel anew."""

from __future__ import annotations

import ast
from collections.abc import Iterator

SIZES = ("shape", "size", "numel", "stride", "ndim")
"""Attributes of a tensor that tell sizes."""
ROUNDING = ("next_power_of_2",)
"""Functions with few values, however many sizes there are."""


def recompiled_sizes(source: str) -> dict[str, str]:
    """Return the compile-time parameters of a module's kernels that launches fill with sizes, with what is passed.

    A comparison of sizes has two values, and a size that is rounded up to a power of two has few: these are left out.
    """
    functions = [node for node in ast.parse(source).body if isinstance(node, ast.FunctionDef)]
    parameters = {
        function.name: [(each.arg, _is_constexpr(each)) for each in (*function.args.args, *function.args.kwonlyargs)]
        for function in functions
        if any(_is_constexpr(each) for each in (*function.args.args, *function.args.kwonlyargs))
    }
    found: dict[str, str] = {}
    for function in functions:
        derived = _derived(function)
        for name, call in _launches(function, parameters):
            known = parameters[name]
            given = [(known[at], value) for at, value in enumerate(call.args[: len(known)])]
            given += [(each, word.value) for word in call.keywords for each in known if each[0] == word.arg]
            for (parameter, constexpr), value in given:
                if constexpr and _tells_size(value, derived):
                    found.setdefault(parameter, ast.unparse(value))
    return found


def _is_constexpr(argument: ast.arg) -> bool:
    return argument.annotation is not None and ast.unparse(argument.annotation).endswith("constexpr")


def _launches(function: ast.FunctionDef, kernels: dict[str, list[tuple[str, bool]]]) -> Iterator[tuple[str, ast.Call]]:
    for node in ast.walk(function):
        if (
            isinstance(node, ast.Call)
            and isinstance(node.func, ast.Subscript)
            and isinstance(node.func.value, ast.Name)
        ):
            name = node.func.value.id
            if name in kernels and not any(isinstance(each, ast.Starred) for each in node.args):
                yield name, node


def _derived(function: ast.FunctionDef) -> set[str]:
    """Return the variables of a function whose values follow from sizes."""
    names: set[str] = set()
    while True:
        before = len(names)
        for node in ast.walk(function):
            if isinstance(node, ast.Assign) and _tells_size(node.value, names):
                targets = [each for target in node.targets for each in ast.walk(target)]
                names |= {each.id for each in targets if isinstance(each, ast.Name)}
        if len(names) == before:
            return names


def _tells_size(node: ast.AST, derived: set[str]) -> bool:
    """Return whether the value of an expression follows from sizes, and has as many values as they have."""
    if isinstance(node, ast.Compare | ast.BoolOp) or (
        isinstance(node, ast.Call) and ast.unparse(node.func).rpartition(".")[2] in ROUNDING
    ):
        return False
    if isinstance(node, ast.IfExp):
        return _tells_size(node.body, derived) or _tells_size(node.orelse, derived)
    if isinstance(node, ast.Attribute) and node.attr in SIZES:
        return True
    if isinstance(node, ast.Call) and ast.unparse(node.func).rpartition(".")[2] in ("empty", "empty_like", "zeros"):
        return False  # a tensor, not its size
    if isinstance(node, ast.Name):
        return node.id in derived
    return any(_tells_size(child, derived) for child in ast.iter_child_nodes(node))
