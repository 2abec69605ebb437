"""Tell which of the model's arguments a kernel holds as constants: it is right only for models made with the same."""

from __future__ import annotations

import ast
from collections.abc import Sequence

from kopt.model.problem import Problem


def free_arguments(problem: Problem, source: str) -> tuple[str, ...]:
    """Name the arguments of the reference's `Model` that may differ from those of `get_init_inputs`, in order.

    Free are sizes that differ from workload to workload, so that the kernel was verified with several values, and what
    the entry point takes by name.  All others count as constants of the kernel.

    Args:
        problem: the problem.
        source: of the kernel's module; empty where the entry point gets nothing of a model.
    """
    tree = ast.parse(problem.reference)
    varied = {
        name for workload in (*problem.main, *problem.hidden, *problem.small) for name in workload.constants
    } & _assigned(tree)
    names = _parameters(tree)
    sizes = {name for name, value in _values(tree, names).items() if _is_name(value, varied)}
    return tuple(name for name in names if name in sizes | _asked(source, problem.seed.entry))


def _assigned(tree: ast.Module) -> set[str]:
    """Return the names that the module assigns exactly once, at its top level."""
    stored = [n.id for n in ast.walk(tree) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)]
    top = {t.id for n in tree.body if isinstance(n, ast.Assign) for t in n.targets if isinstance(t, ast.Name)}
    return {name for name in top if stored.count(name) == 1}


def _parameters(tree: ast.Module) -> list[str]:
    """Return the names of the parameters of `Model.__init__`, without the first.

    `Model` may be another name of a class of the module, or inherit `__init__` from one.
    """
    classes = {node.name: node for node in tree.body if isinstance(node, ast.ClassDef)}
    aliases = {
        target.id: node.value.id
        for node in tree.body
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Name)
        for target in node.targets
        if isinstance(target, ast.Name)
    }
    name, seen = "Model", set[str]()
    while name not in seen:
        seen.add(name)
        if name in aliases:
            name = aliases[name]
        elif name in classes:
            for function in classes[name].body:
                if isinstance(function, ast.FunctionDef) and function.name == "__init__":
                    return [one.arg for one in (*function.args.posonlyargs, *function.args.args)][1:]
            name = next((base.id for base in classes[name].bases if isinstance(base, ast.Name)), name)
    return []


def _values(tree: ast.Module, names: Sequence[str]) -> dict[str, ast.expr]:
    """Return the expressions that `get_init_inputs` returns, a list or a dictionary, by name of the parameter."""
    for node in tree.body:
        if isinstance(node, ast.FunctionDef) and node.name == "get_init_inputs":
            returned = [n.value for n in ast.walk(node) if isinstance(n, ast.Return)]
            if len(returned) == 1 and isinstance(returned[0], ast.List | ast.Tuple):
                return dict(zip(names, returned[0].elts, strict=False))
            if len(returned) == 1 and isinstance(returned[0], ast.Dict):
                pairs = zip(returned[0].keys, returned[0].values, strict=True)
                return {str(key.value): one for key, one in pairs if isinstance(key, ast.Constant)}
    return {}


def _is_name(value: ast.expr, names: set[str]) -> bool:
    return isinstance(value, ast.Name) and value.id in names


def _asked(source: str, entry: str) -> set[str]:
    """Return the names of the parameters of the entry point."""
    for node in ast.parse(source).body:
        if isinstance(node, ast.FunctionDef) and node.name == entry:
            arguments = node.args
            return {one.arg for one in (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs)}
    return set()
