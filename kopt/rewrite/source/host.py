"""Read how the launching function uses a tensor: where it allocates it, and who else reads it."""

from __future__ import annotations

from dataclasses import dataclass

import libcst as cst

from kopt.rewrite.source import syntax
from kopt.rewrite.source.module import Launch, TritonModule

ALLOCATIONS = frozenset({"torch.empty", "torch.empty_like", "torch.zeros", "torch.zeros_like"})
METADATA = frozenset({"shape", "dtype", "device", "stride", "numel", "size", "ndim", "is_contiguous", "element_size"})
"""Attributes of a tensor that do not reach its elements."""


@dataclass(frozen=True, eq=False)
class Scratch:
    """A tensor that the launching function allocates in one place."""

    name: str
    allocation: cst.SimpleStatementLine
    call: cst.Call
    others: tuple[cst.Name, ...]
    """Mentions beside the launch's own argument that may reach its elements, all of them after the launch."""
    described: bool
    """Whether its shape, type or device is read somewhere."""

    def dtype(self, launch: Launch) -> str | None:
        """Write the type of the elements as an expression of the launched kernel; None where it is not known."""
        passed = syntax.keyword(self.call, "dtype")
        text = syntax.code(passed.value) if passed else ""
        if passed is None and syntax.called(self.call).endswith("_like") and self.call.args:
            text = f"{syntax.code(self.call.args[0].value)}.dtype"
        if text.startswith("torch.") and text.removeprefix("torch.") in (
            "float32", "float16", "bfloat16", "float64", "int8", "int16", "int32", "int64", "uint8",
        ):  # fmt: skip
            return f"tl.{text.removeprefix('torch.')}"
        like = text.removesuffix(".dtype")
        if _times_assigned(launch.function, like) != 1:
            return None
        names = [name for name, a in launch.arguments.items() if syntax.code(a.value) == like and name.endswith("ptr")]
        return f"{names[0]}.dtype.element_ty" if text.endswith(".dtype") and names else None


def scratch(module: TritonModule, launch: Launch, parameter: str) -> Scratch | None:
    """Read the tensor that a launch passes; None where another parameter of the launch may reach its elements."""
    passed = launch.arguments.get(parameter)
    function = launch.function
    nodes = syntax.walk(function.body)
    if passed is None or not isinstance(passed.value, cst.Name):
        return None
    if any(isinstance(n, (cst.For, cst.While, cst.FunctionDef, cst.ListComp, cst.NamedExpr)) for n in nodes):
        return None
    name = passed.value.value
    lines = [n for n in nodes if isinstance(n, cst.SimpleStatementLine) and (p := syntax.assigned(n)) and p[0] == name]
    made = syntax.assigned(lines[0]) if len(lines) == 1 else None
    resolved = module.resolve(passed.value, function)
    if made is None or not isinstance(made[1], cst.Call) or syntax.called(made[1]) not in ALLOCATIONS:
        return None
    if resolved is not made[1]:
        return None
    place = {id(n): number for number, n in enumerate(nodes)}
    described = {id(n.value) for n in nodes if isinstance(n, cst.Attribute) and n.attr.value in METADATA}
    described |= {id(n.args[0].value) for n in nodes if isinstance(n, cst.Call) and n.args
                  and syntax.called(n) in ALLOCATIONS and syntax.called(n).endswith("_like")}  # fmt: skip
    words = {id(n.keyword) for n in nodes if isinstance(n, cst.Arg)}
    words |= {id(n.attr) for n in nodes if isinstance(n, cst.Attribute)}
    own = {id(n) for n in syntax.walk(lines[0])} | {id(passed.value)} | words
    rest = [n for n in nodes if isinstance(n, cst.Name) and n.value == name and id(n) not in own]
    others = [n for n in rest if id(n) not in described]
    last = max(place[id(n)] for n in syntax.walk(launch.call) if id(n) in place)
    if any(place[id(node)] <= last for node in others):
        return None
    return Scratch(name, lines[0], made[1], tuple(others), len(others) < len(rest))


def _times_assigned(function: cst.FunctionDef, name: str) -> int:
    """Count the places of a function that assign a name, its parameters included."""
    found = [n.name.value for n in function.params.params if n.name.value == name]
    for node in syntax.walk(function.body):
        if isinstance(node, (cst.AssignTarget, cst.AugAssign, cst.AnnAssign, cst.For, cst.NamedExpr)):
            found += [name for n in syntax.walk(node.target) if isinstance(n, cst.Name) and n.value == name]
    return len(found)
