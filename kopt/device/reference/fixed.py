"""Name the plain values that a reference holds: a kernel is verified for these alone.

`Any`: references hold values of any type.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Mapping
from typing import Any

import torch

from kopt.device.reference import setup
from kopt.device.reference.given import input_names
from kopt.model.problem import Problem, Workload

_PARTS = re.compile(r", (?![^(]*\))")
"""Commas that are not in parentheses."""
_MAKERS = ("get_inputs", "get_init_inputs")
"""Functions of a reference that no kernel computes."""


def fixed_values(problem: Problem) -> list[str]:
    """List plain values that are the same in all workloads, each once: `eps = 1e-06`.

    They are inputs that are no tensors, numbers among the attributes of modules, what torch's own modules say of
    themselves, arguments and defaults of the functions that the reference calls, and its constants.

    Raises:
        ProblemError: the reference raises.
    """
    workloads = (*problem.main, *problem.hidden, *problem.small)
    found = [list(_values(problem, workload)) for workload in workloads]
    changed = {name for workload in workloads for name in workload.constants}
    same = [text for text in found[0] if all(text in others for others in found[1:])]
    return list(dict.fromkeys([*same, *_arguments(ast.parse(problem.reference), changed)]))


def _values(problem: Problem, workload: Workload) -> Iterator[str]:
    """List the plain values of one workload."""
    with torch.device("meta"):
        reference = setup.load_reference(problem, workload)
        model = setup.make_model(reference, problem)
        inputs = setup.make_inputs(reference, problem)
    for name, value in zip(input_names(model, len(inputs)), inputs, strict=True):
        if _is_plain(value) or value is None:
            yield f"{name} = {value!r}"
    for path, module in model.named_modules():
        if type(module).__module__.startswith("torch."):
            for part in _PARTS.split(module.extra_repr()):
                if part:
                    yield f"{path or type(module).__name__}: {part}"
        else:
            yield from _plain(vars(module), f"{path}." if path else "")
    yield from _plain(vars(reference), "")


def _plain(values: Mapping[str, Any], prefix: str) -> Iterator[str]:
    for name, value in values.items():
        if name[0] != "_" and name != "training" and _is_plain(value):
            yield f"{prefix}{name} = {value!r}"


def _arguments(tree: ast.Module, changed: set[str]) -> Iterator[str]:
    """List plain arguments of calls of the reference's own functions, and defaults that no call replaces."""
    functions = {node.name: node for node in tree.body if isinstance(node, ast.FunctionDef)}
    bodies = [node for node in tree.body if getattr(node, "name", "") not in _MAKERS]
    for call in (node for body in bodies for node in ast.walk(body) if isinstance(node, ast.Call)):
        if isinstance(call.func, ast.Name) and call.func.id in functions:
            taken = functions[call.func.id].args
            positional = [one.arg for one in (*taken.posonlyargs, *taken.args)]
            values = dict(zip(positional[len(positional) - len(taken.defaults) :], taken.defaults, strict=True))
            values |= {
                one.arg: default
                for one, default in zip(taken.kwonlyargs, taken.kw_defaults, strict=True)
                if default is not None
            }
            values |= dict(zip(positional, call.args, strict=False))
            values |= {word.arg: word.value for word in call.keywords if word.arg is not None}
            for name, value in values.items():
                if _is_literal(value) and name not in changed:
                    yield f"{name} = {ast.unparse(value)}"


def _is_literal(value: ast.expr) -> bool:
    try:
        return _is_plain(ast.literal_eval(value)) or ast.literal_eval(value) is None
    except (ValueError, TypeError, SyntaxError):
        return False


def _is_plain(value: object) -> bool:
    if isinstance(value, tuple | list):
        return bool(value) and all(type(one) in (bool, int, float) for one in value)
    return type(value) in (bool, int, float, str)
