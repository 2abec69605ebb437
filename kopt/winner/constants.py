"""Tell which of the model's arguments a kernel holds as constants: it is right only for models made with the same."""

from __future__ import annotations

import ast
import operator
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from kopt.errors import ProblemError
from kopt.model.problem import Given, Problem, Workload
from kopt.winner.accepted import Pattern, patterns_and_names, size_like

ARITHMETIC: dict[type[ast.operator], Callable[[int, int], int]] = {
    ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul,
}  # fmt: skip
"""Operations with which a reference may write the value of a constant."""


@dataclass(frozen=True)
class Made:
    """The arguments with which an exported file makes the reference's `Model`, and what its kernel takes then."""

    given: tuple[Given, ...]
    """Arguments in the workloads with the constants that every model holds."""
    patterns: tuple[Pattern, ...]
    """Type, sizes and strides that each argument of the kernel must have, as these workloads verify them."""
    sizes: dict[str, str]
    """Arguments of `Model` that are sizes of the kernel's arguments, or follow from them, by name of the argument."""
    held: dict[str, int]
    """Constants that differ between the workloads and that every model holds as the reference assigns them."""
    free: tuple[str, ...]
    """Arguments of `Model` that may differ from those of `get_init_inputs`: sizes, and what the entry point takes."""


def made_with(problem: Problem, given: Sequence[Given], others: Sequence[Workload] = (), source: str = "") -> Made:
    """Tell with what the reference's model is made, and for which sizes a kernel then computes what the model does.

    A constant that workloads change and `get_init_inputs` returns as it is follows from the sizes at hand, if any size
    does.  One that enters the model in another way has one value in an exported file, that of the reference, so that
    workloads with other values say nothing of the kernel there.

    Args:
        problem: the problem.
        given: the arguments in the workloads with which the kernel was verified.
        others: workloads beside the main ones among them; none for all of the problem.
        source: of the kernel's module; empty where the entry point gets nothing of a model.

    Raises:
        ProblemError: the arguments are not known, or no workload has the constants of the reference.
    """
    tree, kept = ast.parse(problem.reference), tuple(given)
    assigned, names = _assigned(tree), _parameters(tree)
    workloads = {one.name: one for one in reversed((*problem.main, *(others or (*problem.hidden, *problem.small))))}

    def constants(every: Given) -> Mapping[str, int]:
        return workloads[every.workload].constants if every.workload in workloads else {}

    changed = {name for every in kept for name in constants(every)} & assigned.keys()
    asked = _asked(source, problem.seed.entry)
    values = {name: one for name, one in _values(tree, names).items() if name in names}
    given_as = {name: one.id for name, one in values.items() if isinstance(one, ast.Name)}
    rest = Counter(_reads(tree).get("get_init_inputs", ())) - Counter(given_as.values())
    entering = _reached(tree, ["Model", *rest])
    plain = {name: of for name, of in given_as.items() if of in changed - entering}
    held = (changed & entering) - asked
    while True:
        kept = tuple(
            every for every in kept if all(value == assigned[n] for n, value in constants(every).items() if n in held)
        )
        if given and not kept:
            listed = ", ".join(f"{name} = {assigned[name]}" for name in sorted(held))
            raise ProblemError(
                f"{problem.name}: the model holds {listed}, and no workload has that: give one to problem.yaml, or "
                "use --as script"
            )
        found, columns = patterns_and_names(kept, problem.name)
        sizes = {
            name: size_like(tuple(constants(every).get(of, assigned[of]) for every in kept), columns)
            for name, of in plain.items()
            if of not in held
        }
        unknown = {plain[name] for name, size in sizes.items() if not (size or {name, plain[name]} & asked)}
        if not unknown:
            free = tuple(name for name in names if name in asked or sizes.get(name))
            known = {name: size for name, size in sizes.items() if size}
            return Made(kept, found, known, {name: assigned[name] for name in sorted(held)}, free)
        held |= unknown


def _reads(tree: ast.Module) -> dict[str, list[str]]:
    """Return what each name of the module reads of the module's names, once for each time."""
    reads: dict[str, list[str]] = {}
    for node in tree.body:
        names = [n for n in ast.walk(node) if isinstance(n, ast.Name)]
        stored = {n.id for n in names if isinstance(n.ctx, ast.Store)}
        loaded = [n.id for n in names if isinstance(n.ctx, ast.Load)]
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            own = stored | {n.arg for n in ast.walk(node) if isinstance(n, ast.arg)}
            reads[node.name] = [name for name in loaded if name not in own]
        else:
            reads |= dict.fromkeys(stored, loaded)
    return reads


def _reached(tree: ast.Module, start: Iterable[str]) -> set[str]:
    """Return names of the module, and all that they read, themselves or by what they read."""
    reads, found, waiting = _reads(tree), set[str](), list(start)
    while waiting:
        name = waiting.pop()
        if name not in found:
            found.add(name)
            waiting += reads.get(name, [])
    return found


def _assigned(tree: ast.Module) -> dict[str, int]:
    """Return the whole numbers that the module assigns to a name exactly once, at its top level, by that name."""
    stored = [n.id for n in ast.walk(tree) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)]
    pairs = list[tuple[ast.expr, ast.expr | None]]()
    for node in tree.body:
        if isinstance(node, ast.AnnAssign):
            pairs.append((node.target, node.value))
        for target in node.targets if isinstance(node, ast.Assign) else ():
            assert isinstance(node, ast.Assign)
            if isinstance(target, ast.Tuple) and isinstance(node.value, ast.Tuple):
                pairs += zip(target.elts, node.value.elts, strict=False)
            pairs.append((target, node.value))
    numbers = {one.id: _number(value) for one, value in pairs if isinstance(one, ast.Name) and value is not None}
    return {name: number for name, number in numbers.items() if number is not None and stored.count(name) == 1}


def _number(value: ast.expr) -> int | None:
    """Return the whole number that an expression of numbers alone gives; None for any other."""
    if isinstance(value, ast.Constant):
        return value.value if type(value.value) is int else None
    if isinstance(value, ast.BinOp) and type(value.op) in ARITHMETIC:
        one, two = _number(value.left), _number(value.right)
        return None if one is None or two is None else ARITHMETIC[type(value.op)](one, two)
    return None


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


def _asked(source: str, entry: str) -> set[str]:
    """Return the names of the parameters of the entry point."""
    for node in ast.parse(source).body:
        if isinstance(node, ast.FunctionDef) and node.name == entry:
            arguments = node.args
            return {one.arg for one in (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs)}
    return set()
