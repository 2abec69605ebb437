"""Clean the text of a kernel that TorchInductor wrote: plain decorator, no asserts, nothing unused, readable names."""

from __future__ import annotations

import ast
import re
from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass

from kopt.seed.indexes import use_parameters, without_modulo
from kopt.seed.inductor_module import WrittenKernel

_DROPPED = ("tl.device_assert",)
_HALVES, _BACK = ("tl.bfloat16", "tl.float16"), ".to(tl.float32)"
_PLAIN_MATH = {"tl_math": "math"}
_ROUNDED_SUM = re.compile(r"= acc\.to\(tl\.(?:bfloat16|float16)\)$", re.MULTILINE)
"""A sum of products that is rounded before what follows in the same kernel: one rounding more than is allowed."""


@dataclass
class CleanKernel:
    """A cleaned kernel."""

    name: str
    function: ast.FunctionDef
    inner: list[ast.FunctionDef]
    """Functions that it calls, defined beside it."""
    kept: list[str]
    """Parameters that are left, under their first names."""
    helpers: set[str]
    """Functions of `triton_helpers` that it calls."""
    libdevice: bool

    @property
    def is_empty(self) -> bool:
        """Whether nothing is left of it: it only checked indexes."""
        return not self.function.body

    def text(self) -> str:
        """Return the text of the kernel and of the functions beside it."""
        return "\n\n\n".join(ast.unparse(function) for function in (*self.inner, self.function))


def clean_kernel(
    kernel: WrittenKernel,
    name: str,
    parameters: dict[str, str],
    constants: Collection[str] = (),
    definitions: Mapping[str, str] | None = None,
) -> CleanKernel:
    """Clean a kernel.

    Args:
        kernel: the kernel as it was written.
        name: its new name.
        parameters: new names of its parameters.
        constants: constants in its body that become parameters.
        definitions: variables of the host by the expression that is their value.
    """
    source = _ROUNDED_SUM.sub("= acc", kernel.source)
    functions = [node for node in ast.parse(source).body if isinstance(node, ast.FunctionDef)]
    own = next(function for function in functions if function.name == kernel.name)
    inner = [function for function in functions if function is not own]
    helpers = _Helpers()
    for function in functions:
        function.decorator_list = [ast.parse("triton.jit", mode="eval").body]
        function.body = _without(function.body)
        _drop_unused(function)
        helpers.visit(function)
        for argument in function.args.args:
            if argument.annotation is not None:
                argument.annotation = ast.parse("tl.constexpr", mode="eval").body
    _round_only_what_is_stored(own)
    own.body = [statement for statement in own.body if _constant(statement) not in constants]
    for constant in constants:
        own.args.args.append(ast.arg(constant, ast.parse("tl.constexpr", mode="eval").body))
    used = _loaded(own) - _assigned_at_once(own)
    merged = _merged({name: new for name, new in parameters.items() if name in used})
    own.args.args = [argument for argument in own.args.args if argument.arg in used and argument.arg not in merged]
    _Renamed(merged).visit(own)
    wide = _is_wide(kernel)
    for argument in own.args.args:
        if argument.arg in wide:
            argument.annotation = ast.parse("tl.int64", mode="eval").body
    kept = [argument.arg for argument in own.args.args]
    without_modulo(own)
    _ConvertedSizes({name for name in kept if not name.endswith("ptr") and "ptr" not in name}).visit(own)
    inside = _bound(own)
    parameters = {old: f"{new}_size" if new in inside else new for old, new in parameters.items()}
    _Renamed({old: new for old, new in parameters.items() if old in kept}).visit(own)
    use_parameters(own, definitions or {})
    own.name = name
    for function in inner:
        if function.name in used:
            fresh = f"{name.removesuffix('_kernel')}_{function.name.strip('_').replace('triton_helper_fn_', '')}"
            _Renamed({function.name: fresh}).visit(own)
            function.name = fresh
    return CleanKernel(name, own, inner, kept, helpers.found, helpers.libdevice)


def _round_only_what_is_stored(function: ast.FunctionDef) -> None:
    """Leave out roundings to 16 bits and back of values that the kernel does not store: nothing else reads them."""
    nodes = list(ast.walk(function))
    calls = [node for node in nodes if isinstance(node, ast.Call)]
    stored = {ast.unparse(call.args[1]) for call in calls if ast.unparse(call.func) == "tl.store"}
    read = Counter(node.id for node in nodes if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load))
    read_back = Counter(text.removesuffix(_BACK) for text in map(ast.unparse, calls) if text.endswith(_BACK))
    for node in nodes:
        match node:
            case ast.Assign(
                targets=[ast.Name(rounded)],
                value=ast.Call(func=ast.Attribute(value=ast.Name(name), attr="to"), args=[kind]),
            ) if ast.unparse(kind) in _HALVES and name not in stored and read[rounded] == read_back[rounded]:
                node.value = ast.Name(name, ast.Load())


def _constant(statement: ast.stmt) -> str | None:
    """Return the name that a statement gives a constant value; None for any other statement."""
    match statement:
        case ast.AnnAssign(target=ast.Name(name), value=ast.Constant()):
            return name
    return None


def _bound(function: ast.FunctionDef) -> set[str]:
    """Return the names that a function binds or reads, but for its parameters."""
    names = {node.id for node in ast.walk(function) if isinstance(node, ast.Name)}
    return names - {argument.arg for argument in function.args.args}


def _assigned_at_once(function: ast.FunctionDef) -> set[str]:
    """Return the parameters that the function gives a number before anything else."""
    names = {argument.arg for argument in function.args.args}
    found = set()
    for statement in function.body:
        match statement:
            case ast.Assign(targets=[ast.Name(name)], value=ast.Constant()) if name in names:
                found.add(name)
            case ast.AnnAssign(target=ast.Name(name), value=ast.Constant()) if name in names:
                found.add(name)
    return found


def _is_wide(kernel: WrittenKernel) -> set[str]:
    """Return the sizes that need 64 bits: those of a kernel whose indexes do."""
    if ").to(tl.int64) *" not in kernel.source and "INDEX_DTYPE : tl.constexpr = tl.int64" not in kernel.source:
        return set()
    signature = kernel.tuner.triton_meta.get("signature", {})
    return {name for name, kind in signature.items() if kind == "i64" or (kind == "i32" and name.startswith("ks"))}


def _merged(parameters: dict[str, str]) -> dict[str, str]:
    """Return the parameters that get the same argument as an earlier one, with that one."""
    first: dict[str, str] = {}
    return {name: first[new] for name, new in parameters.items() if first.setdefault(new, name) != name}


class _Helpers(ast.NodeTransformer):
    """Call helpers without their module, and note them."""

    def __init__(self) -> None:
        self.found: set[str] = set()
        self.libdevice = False

    def visit_Attribute(self, node: ast.Attribute) -> ast.AST:
        self.generic_visit(node)
        if isinstance(node.value, ast.Name):
            if node.value.id == "triton_helpers":
                self.found.add(node.attr)
                return ast.Name(node.attr, node.ctx)
            self.libdevice = self.libdevice or node.value.id == "libdevice"
            if node.value.id in _PLAIN_MATH:
                node.value = ast.Attribute(ast.Name("tl", ast.Load()), _PLAIN_MATH[node.value.id], ast.Load())
        return node


class _ConvertedSizes(ast.NodeTransformer):
    """Make blocks of sizes that are converted: Triton takes a size of 1 for a constant, which has no `to`.

    A quotient of sizes, as `1 / x.shape[0]`, is no whole number.
    """

    def __init__(self, sizes: set[str]) -> None:
        self._sizes = sizes

    def visit_Call(self, node: ast.Call) -> ast.AST:
        self.generic_visit(node)
        match node:
            case ast.Call(func=ast.Attribute(value=value, attr="to")) if self._is_size(value):
                divides = any(isinstance(part, ast.Div) for part in ast.walk(value))
                block = (
                    f"tl.full([1], {ast.unparse(_Quotients().visit(value))}, tl.{'float64' if divides else 'int64'})"
                )
                node.func.value = ast.parse(block, mode="eval").body  # type: ignore[attr-defined]  # by the pattern
        return node

    def _is_size(self, value: ast.expr) -> bool:
        names = {part.id for part in ast.walk(value) if isinstance(part, ast.Name)}
        plain = (ast.Name, ast.BinOp, ast.Constant, ast.operator, ast.UnaryOp, ast.unaryop, ast.Load)
        return bool(names) and names <= self._sizes and all(isinstance(part, plain) for part in ast.walk(value))


class _Quotients(ast.NodeTransformer):
    """Divide sizes in float64, as Python does."""

    def visit_BinOp(self, node: ast.BinOp) -> ast.AST:
        self.generic_visit(node)
        if isinstance(node.op, ast.Div):
            node.right = ast.parse(f"tl.full([], {ast.unparse(node.right)}, tl.float64)", mode="eval").body
        return node


class _Renamed(ast.NodeTransformer):
    def __init__(self, names: dict[str, str]) -> None:
        self._names = names

    def visit_Name(self, node: ast.Name) -> ast.AST:
        node.id = self._names.get(node.id, node.id)
        return node

    def visit_arg(self, node: ast.arg) -> ast.AST:
        node.arg = self._names.get(node.arg, node.arg)
        return node


def _without(body: list[ast.stmt]) -> list[ast.stmt]:
    kept = []
    for statement in body:
        match statement:
            case ast.Expr(ast.Call(func=function)) if ast.unparse(function) in _DROPPED:
                continue
        for inner in ("body", "orelse"):
            if isinstance(statement, ast.For | ast.If | ast.While):
                setattr(statement, inner, _without(getattr(statement, inner)))
        kept.append(statement)
    return kept


def _drop_unused(function: ast.FunctionDef) -> None:
    """Drop assignments to names that nothing reads, again and again."""
    while True:
        read = _loaded(function)
        before = ast.dump(function)
        function.body = _used(function.body, read)
        if ast.dump(function) == before:
            return


def _used(body: list[ast.stmt], read: set[str]) -> list[ast.stmt]:
    kept: list[ast.stmt] = []
    for statement in body:
        match statement:
            case ast.Assign(targets=[ast.Name(name)], value=value) if name not in read and not _acts(value):
                continue
            case ast.AnnAssign(target=ast.Name(name)) if name not in read:
                continue
            case ast.For() | ast.If() | ast.While():
                statement.body = _used(statement.body, read) or [ast.Pass()]
        kept.append(statement)
    return kept


def _acts(value: ast.expr) -> bool:
    """Return whether an expression does more than compute: an atomic operation changes memory."""
    return any(isinstance(node, ast.Attribute) and node.attr.startswith("atomic") for node in ast.walk(value))


def _loaded(function: ast.FunctionDef) -> set[str]:
    return {node.id for node in ast.walk(function) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load)}
