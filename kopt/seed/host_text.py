"""Clean the code around the kernels: what TorchInductor's `call` does, as the body of `kernel_function`."""

from __future__ import annotations

import ast
import random
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib import import_module
from pkgutil import iter_modules

from kopt.errors import SeedError
from kopt.model.device import Device
from kopt.seed import templates
from kopt.seed.inductor_module import WrittenKernel, WrittenModule
from kopt.seed.kernel_text import CleanKernel, clean_kernel
from kopt.seed.launches import configuration, evaluated, grid, tiled
from kopt.seed.operations.own_operators import NAMESPACE
from kopt.seed.whole_numbers import Argument

_IGNORED = (
    "args.clear(",
    "assert_size_stride(",
    "assert_alignment(",
    "torch.cuda.set_device(",
    "raw_stream",
    "_uint8_",
)
_PLAIN_CALLS = {"max", "min", "int", "float", "abs", "torch.empty", "torch.empty_strided", "torch.as_strided"}
_ROUNDED = {
    "torch.sym_float": "float({})", "math.trunc": "int({})", "math.floor": "int(({}) // 1)",
    "math.ceil": "-int(-({}) // 1)",
}  # fmt: skip
"""How sizes are computed by way of other numbers (`int(0.5 * x.shape[-1])`) without imports."""
_KIND = re.compile(r"triton_(?:\w{2,3})_fused_?(.*?)_?(\d+)$")
_COUNT = re.compile(r"(.+?)_([xyz]|r\d_)numel$")
"""A variable of `call` that holds the elements along an axis of a kernel."""
_WORDS = re.compile(r"_(?=_)|^_|_$")


@dataclass
class HostText:
    """Statements of `kernel_function`, and what they use."""

    lines: list[str]
    result: list[str]
    """Expressions of the graph's results."""
    kernels: list[CleanKernel]
    templates: list[str]
    """Names of the templates' functions that are called."""


@dataclass
class _Writer:
    module: WrittenModule
    variant: int
    target: Device
    """The device that the seed is made for."""
    device: str
    """Expression of the device."""
    names: dict[str, str]
    """New names of variables."""
    size_of: dict[str, str] = field(default_factory=dict)
    """Tensors by the name under which `call` keeps their sizes, or `.stride` of them."""
    sizes: dict[str, tuple[str, ...]] = field(default_factory=dict)
    """Names of sizes by tensor."""
    lines: list[str] = field(default_factory=list)
    result: list[str] = field(default_factory=list)
    kernels: dict[str, CleanKernel] = field(default_factory=dict)
    launched: dict[str, str] = field(default_factory=dict)
    """Kernels' new names."""
    templates: dict[str, None] = field(default_factory=dict)
    aliases: dict[str, int] = field(default_factory=dict)
    """Further names of a buffer in `call`."""

    def statement(self, node: ast.stmt) -> None:
        text = ast.unparse(node)
        if text.startswith(_IGNORED) or "get_raw_stream" in text:
            return
        match node:
            case ast.Return(value=ast.Tuple(elts=values)):
                self.result = [self.expression(value) for value in values]
            case ast.Return():
                self.result = []
            case ast.Delete(targets=targets):
                self._deleted([ast.unparse(target) for target in targets])
            case ast.Assign(
                targets=[ast.Name(name)],
                value=ast.Call(func=ast.Attribute(ast.Name(owner), ("size" | "stride") as what)),
            ):
                self.size_of[name] = f"{self.names.get(owner, owner)}.{'shape' if what == 'size' else 'stride'}"
            case ast.Assign(
                targets=[ast.Name(name)], value=ast.Subscript(ast.Name(owner), ast.Constant(int(place)))
            ) if owner in self.size_of:
                self._size(name, owner, place)
            case ast.Assign(targets=[ast.Name(name)], value=ast.Name(other)):
                self.names[name] = self.names.get(other, other)
                self.aliases[self.names[name]] = self.aliases.get(self.names[name], 0) + 1
            case ast.Expr(ast.Call(func=ast.Attribute(ast.Name(kernel), "run"), args=arguments)) if (
                kernel in self.module.kernels
            ):
                self._launch(self.module.kernels[kernel], [self.expression(value) for value in arguments])
            case ast.Assign(targets=[ast.Name(name)], value=value):
                self.lines.append(f"{self._variable(name)} = {self.expression(value)}")
            case ast.Expr(ast.Call(func=ast.Attribute(ast.Name(owner), ("zero_" | "fill_")))):
                self.lines.append(self.expression(node.value))
            case _:
                raise SeedError(f"TorchInductor's module holds a statement that kopt does not know: {text[:120]}")

    def expression(self, node: ast.expr) -> str:
        """Write an expression with new names.

        Raises:
            SeedError: the expression calls what is no Triton.
        """
        match node:
            case ast.Call(func=function, args=arguments, keywords=keywords):
                return self._call(ast.unparse(function), arguments, keywords)
        tree = _Expressions(self).visit(ast.parse(ast.unparse(node), mode="eval"))
        return ast.unparse(tree)

    def _call(self, function: str, arguments: list[ast.expr], keywords: list[ast.keyword]) -> str:
        texts = [self.expression(argument) for argument in arguments]
        if function.startswith("empty_strided_"):
            return self._empty(*texts[:3])
        if function == "reinterpret_tensor":
            return f"torch.as_strided({', '.join(texts)})"
        own = re.fullmatch(rf"torch\.ops\.{NAMESPACE}\.(\w+)\.default", function)
        if own:
            self.templates[own.group(1)] = None
            return f"{own.group(1)}({', '.join(texts)})"
        if function in _ROUNDED:
            return _ROUNDED[function].format(*texts)
        if function in _PLAIN_CALLS or function.endswith((".zero_", ".fill_")):
            named = [f"{keyword.arg}={self.expression(keyword.value)}" for keyword in keywords]
            return f"{self._renamed(function)}({', '.join([*texts, *named])})"
        raise SeedError(
            f"TorchInductor has no Triton for {function.removeprefix('torch.ops.').removesuffix('.default')}, and kopt "
            "no template"
        )

    def _renamed(self, function: str) -> str:
        owner, dot, method = function.partition(".")
        return f"{self.names.get(owner, owner)}{dot}{method}"

    def _empty(self, size: str, stride: str, dtype: str) -> str:
        if _is_contiguous(size, stride):
            return f"torch.empty({size}, dtype={dtype}, device={self.device})"
        return f"torch.empty_strided({size}, {stride}, dtype={dtype}, device={self.device})"

    def _size(self, name: str, owner: str, place: int) -> None:
        tensor = self.size_of[owner]
        known = self.sizes.get(tensor.rpartition(".")[0], ())
        wanted = known[place] if place < len(known) and tensor.endswith("shape") else ""
        base = re.sub(r"\W+", "_", tensor.rpartition(".")[0]).strip("_")
        fresh = wanted or f"{base}_{'size' if tensor.endswith('shape') else 'stride'}{place}"
        if fresh in self.names.values():
            fresh = f"{base}_size{place}"
        self.names[name] = fresh
        value = f"{tensor}[{place}]" if tensor.endswith("shape") else f"{tensor}({place})"
        self.lines.append(f"{fresh} = {value}")

    def _deleted(self, names: Iterable[str]) -> None:
        gone = [self.names.get(name, name) for name in names if name.startswith("buf")]
        for name in list(gone):
            if self.aliases.get(name, 0):
                self.aliases[name] -= 1
                gone.remove(name)
        gone = [name for name in gone if name.isidentifier()]
        if gone:
            self.lines.append(f"del {', '.join(gone)}")

    def _variable(self, name: str) -> str:
        match = _COUNT.fullmatch(name)
        if match and match.group(1) in self.module.kernels:
            word = {"x": "elements", "y": "rows", "z": "planes"}.get(match.group(2), "columns")
            self.names[name] = _fresh(
                f"{self._named(match.group(1)).replace('_kernel', '')}_{word}", self.names.values()
            )
        return self.names.get(name, name)

    def _named(self, kernel: str) -> str:
        if kernel not in self.launched:
            match = _KIND.fullmatch(kernel)
            words = [word for word in _WORDS.sub("", match.group(1) if match else "").split("_") if word]
            base = "_".join(dict.fromkeys(words[:6])) or "fused"
            base = {"tem": "product"}.get(base, base)
            base = base if base.isidentifier() else f"kernel_{base}"
            self.launched[kernel] = _fresh(f"{base}_kernel", [*self.launched.values(), *_template_names()])
        return self.launched[kernel]

    def _launch(self, kernel: WrittenKernel, arguments: list[str]) -> None:
        config = configuration(kernel, self.variant, self.target)
        fixed = kernel.tuner.inductor_meta.get("grid_type") == "FixedGrid"
        given, arguments = (arguments[-3:], arguments[:-3]) if fixed else ([], arguments)
        plain = [name for name in kernel.parameters if name not in config.constants]
        by_name = dict(zip(plain, arguments, strict=True))
        name = self._named(kernel.name)
        tile = tiled(kernel, by_name, given) if fixed else None
        constants = {**config.constants, **(tile[0] if tile else {})}
        if kernel.name not in self.kernels:
            once = sum(f"{kernel.name}.run(" in ast.unparse(statement) for statement in self.module.body) == 1
            names = _parameters(by_name) if once else {}
            computed = [line.partition(" = ") for line in self.lines if _assigns(line)]
            definitions = {expression: variable for variable, _, expression in computed if "//" in expression}
            self.kernels[kernel.name] = clean_kernel(kernel, name, names, tuple(tile[0]) if tile else (), definitions)
        clean = self.kernels[kernel.name]
        if clean.is_empty:
            return
        passed = [by_name[parameter] for parameter in clean.kept if parameter in by_name]
        named = [f"{key}={value}" for key, value in constants.items() if key in clean.kept]
        options = [f"num_warps={config.warps}", f"num_stages={config.stages}"]
        where = tile[1] if tile else grid(kernel, config, by_name, given)
        self.lines.append(f"{name}[{where}]({', '.join([*passed, *named, *options])})")


@cache
def _template_names() -> frozenset[str]:
    """Return the names that the modules of templates define."""
    modules = [import_module(f"{templates.__name__}.{module.name}") for module in iter_modules(templates.__path__)]
    return frozenset(name for module in modules for name in vars(module) if not name.startswith("__"))


class _Expressions(ast.NodeTransformer):
    def __init__(self, writer: _Writer) -> None:
        self._writer = writer

    def visit_Name(self, node: ast.Name) -> ast.AST:
        name = self._writer.names.get(node.id, node.id)
        return ast.parse(name, mode="eval").body

    def visit_Call(self, node: ast.Call) -> ast.AST:
        text = self._writer._call(ast.unparse(node.func), node.args, node.keywords)
        return ast.parse(text, mode="eval").body


def host_text(module: WrittenModule, arguments: Sequence[Argument], variant: int, device: Device) -> HostText:
    """Clean the body of TorchInductor's `call`.

    Args:
        module: the module that TorchInductor wrote.
        arguments: the graph's arguments, in order.
        variant: which configurations to choose.
        device: the device that the seed is made for.

    Raises:
        SeedError: the body does what kopt does not know, or what is no Triton.
    """
    expressions = [f"{argument.parameter}{argument.path}" for argument in arguments]
    tensors = [text for text, argument in zip(expressions, arguments, strict=True) if argument.is_tensor]
    if not tensors:
        raise SeedError("the reference has no tensor among inputs and parameters")
    writer = _Writer(
        module, variant, device, f"{tensors[0]}.device", dict(zip(module.arguments, expressions, strict=True)),
        sizes={text: argument.sizes for text, argument in zip(expressions, arguments, strict=True)},
    )  # fmt: skip
    writer.names |= _buffer_names(module.body, expressions)
    for statement in module.body:
        writer.statement(statement)
    lines = _used_lines(writer.lines, writer.result)
    kernels = [kernel for kernel in writer.kernels.values() if not kernel.is_empty]
    return HostText(lines, writer.result, kernels, list(writer.templates))


def _parameters(arguments: dict[str, str]) -> dict[str, str]:
    """Name a kernel's parameters after the arguments of its first launch."""
    names: dict[str, str] = {}
    for parameter, argument in arguments.items():
        pointer = "ptr" in parameter or parameter.startswith("arg_")
        word = re.sub(r"\W+", "_", argument).strip("_")
        if not argument.isidentifier():
            continue
        names[parameter] = f"{word}_ptr" if pointer else word
    return names


def _used_lines(lines: list[str], result: Sequence[str]) -> list[str]:
    """Leave out assignments that nothing reads, and take a deletion of what nothing made out."""
    while True:
        read = [_names(line.partition(" = ")[2] if _assigns(line) else line) for line in lines]
        wanted = set().union(*read, *map(_names, result)) if lines else set()
        kept = [line for line in lines if not _assigns(line) or line.partition(" = ")[0] in wanted]
        if len(kept) == len(lines):
            return kept
        lines = kept


def _buffer_names(body: Sequence[ast.stmt], taken: Iterable[str]) -> dict[str, str]:
    """Name buffers: those that are returned `output`, others by their order; an alias has no name of its own."""
    origin: dict[str, str] = {}
    returned: set[str] = set()
    for statement in body:
        match statement:
            case ast.Assign(targets=[ast.Name(name)], value=ast.Name(other)) if _is_buffer(name):
                origin[name] = origin.get(other, other)
            case ast.Assign(targets=[ast.Name(name)]) if _is_buffer(name):
                origin[name] = name
            case ast.Return(value=value) if value is not None:
                returned = {origin.get(name, name) for name in _names(ast.unparse(value))}
    names: dict[str, str] = {}
    buffers = [name for name, own in origin.items() if name == own]
    outputs = sum(buffer in returned for buffer in buffers)
    for buffer in buffers:
        word = "output" if buffer in returned else "workspace" if buffer.startswith("work") else "buffer"
        number = sum(name.startswith(word) for name in names.values())
        single = word == "output" and outputs == 1
        names[buffer] = _fresh(word if single else f"{word}{number}", [*names.values(), *taken])
    return names


def _is_buffer(name: str) -> bool:
    return re.fullmatch(r"buf\d+|workspace_\d+", name) is not None


def _names(text: str) -> set[str]:
    return set(re.findall(r"[A-Za-z_]\w*", text))


def _assigns(line: str) -> bool:
    return re.match(r"[A-Za-z_]\w* = ", line) is not None


def _fresh(name: str, taken: Iterable[str]) -> str:
    known = set(taken)
    if name not in known:
        return name
    return next(f"{name}_{number}" for number in range(2, len(known) + 3) if f"{name}_{number}" not in known)


def _is_contiguous(size: str, stride: str) -> bool:
    """Return whether strides are those of a dense tensor, tried with random sizes."""
    names = sorted((_names(size) | _names(stride)) - {"max", "min"})
    draw = random.Random(0)
    for _ in range(4):
        values = {name: draw.randrange(40, 4000) for name in names}
        try:
            sizes, strides = evaluated(size, values), evaluated(stride, values)
        except Exception:  # noqa: BLE001 - an expression of TorchInductor that is no plain arithmetic
            return False
        expected = 1
        for extent, step in zip(reversed(sizes), reversed(strides), strict=True):
            if extent != 1 and step != expected:
                return False
            expected *= extent
    return True
