"""Model a Triton module: its jitted kernels, where they are launched, and where their constants come from.

A launch or constant that cannot be read off is marked opaque or left out; no source raises an error.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, lru_cache

import libcst as cst
from libcst.metadata import ByteSpanPositionProvider, CodeSpan

from kopt.rewrite.source import syntax
from kopt.rewrite.source.described import tile_of
from kopt.rewrite.source.edit import Edits

OPTIONS = frozenset({"num_warps", "num_stages", "num_ctas", "maxnreg", "enable_fp_fusion"})
"""Launch options of Triton, which are no parameters of the kernel."""
JIT = frozenset({"triton.jit", "jit"})
AUTOTUNE = frozenset({"triton.autotune", "autotune"})


@dataclass(frozen=True, eq=False)
class Parameter:
    """A parameter of a kernel."""

    name: str
    constexpr: bool
    default: cst.BaseExpression | None
    node: cst.Param

    @property
    def last(self) -> cst.CSTNode:
        """Last node of the parameter, after which another parameter may follow."""
        annotation = self.node.annotation
        return self.node.default or (annotation.annotation if annotation else self.node.name)


@dataclass(frozen=True, eq=False)
class Kernel:
    """A jitted function."""

    name: str
    node: cst.FunctionDef
    parameters: tuple[Parameter, ...]
    autotuned: bool
    odd: bool
    """Whether it has decorators, or parameters other than plain ones, that transformations cannot handle."""
    tiles: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Lengths of the tiles that descriptors bring, by the parameter that takes the descriptor."""

    @cached_property
    def body(self) -> Sequence[cst.BaseStatement]:
        """Statements after the docstring."""
        body = _block(self.node.body)
        return body[1:] if body and _is_docstring(body[0]) else body

    @cached_property
    def nodes(self) -> Sequence[cst.CSTNode]:
        """Every node of the body, in source order."""
        return [node for statement in self.body for node in syntax.walk(statement)]

    @cached_property
    def calls(self) -> Sequence[cst.Call]:
        """Every call of the body, in source order."""
        return [node for node in self.nodes if isinstance(node, cst.Call)]

    @cached_property
    def loops(self) -> Sequence[cst.For]:
        """Every `for` of the body, outer before inner."""
        return [node for node in self.nodes if isinstance(node, cst.For)]

    def called(self, *functions: str) -> list[cst.Call]:
        """Find the calls of these functions."""
        return [call for call in self.calls if syntax.called(call) in functions]

    @cached_property
    def names(self) -> frozenset[str]:
        """Names that occur in the kernel, parameters included."""
        return syntax.names(self.node.body) | {p.name for p in self.parameters}

    def parameter(self, name: str) -> Parameter | None:
        """Find a parameter by its name."""
        return next((p for p in self.parameters if p.name == name), None)

    def fresh(self, name: str) -> str:
        """Make a name like this one that does not occur in the kernel."""
        return unused(name, self.names)


@dataclass(frozen=True, eq=False)
class Grid:
    """The grid of a launch, with the expressions of its axes."""

    elements: tuple[cst.BaseExpression, ...]
    meta: str
    """Name of the lambda's parameter, or empty when the grid is a plain tuple."""
    statement: cst.CSTNode
    """The statement that holds the tuple."""
    display: cst.Tuple | cst.List
    """The tuple itself."""


@dataclass(frozen=True, eq=False)
class Launch:
    """A launch `kernel[grid](...)`."""

    kernel: str
    call: cst.Call
    statement: cst.CSTNode
    function: cst.FunctionDef
    arguments: Mapping[str, cst.Arg]
    """Arguments by parameter name."""
    options: Mapping[str, cst.Arg]
    """Launch options by name."""
    grid: Grid | None
    opaque: bool
    """Whether arguments are unpacked with stars, so that not all are visible."""


@dataclass(frozen=True, eq=False)
class Constant:
    """A constexpr parameter whose value at the launch is an integer literal."""

    kernel: Kernel
    launch: Launch
    name: str
    value: int
    literal: cst.CSTNode
    """The literal, at the launch or where the name that is passed was assigned."""
    variable: str
    """The name that is passed, or empty when the literal itself is."""


@dataclass(frozen=True, eq=False)
class TritonModule:
    """A parsed source with its kernels and launches."""

    source: str
    tree: cst.Module
    spans: Mapping[cst.CSTNode, CodeSpan] = field(repr=False)
    kernels: tuple[Kernel, ...]
    launches: tuple[Launch, ...]
    bindings: Mapping[str, cst.BaseExpression]
    """Values of the module-level names that are assigned once."""
    triton: bool
    """Whether the names `triton` and `tl` are imported."""
    left_out: frozenset[str] = frozenset()
    """Names of kernels that `kernels` leaves out."""

    def edits(self) -> Edits:
        """Start edits of the source."""
        return Edits(self.source, self.spans)

    def launches_of(self, kernel: Kernel) -> list[Launch]:
        """Find the launches of a kernel."""
        return [launch for launch in self.launches if launch.kernel == kernel.name]

    def only_launch(self, kernel: Kernel) -> Launch | None:
        """Find the launch of a kernel that is launched in one place, read completely, and mentioned nowhere else."""
        launches = self.launches_of(kernel)
        if kernel.odd or len(launches) != 1 or launches[0].opaque:
            return None
        return launches[0] if self._mentions[kernel.name] == 2 else None

    @cached_property
    def _mentions(self) -> Counter[str]:
        return Counter(node.value for node in syntax.walk(self.tree) if isinstance(node, cst.Name))

    @cached_property
    def constants(self) -> Sequence[Constant]:
        """Constexpr arguments that are integer literals at the kernel's only launch."""
        constants = []
        for kernel in self.kernels:
            launch = self.only_launch(kernel)
            for parameter in kernel.parameters if launch else ():
                if launch is not None and parameter.constexpr and parameter.name in launch.arguments:
                    constants += self._constants(kernel, launch, parameter.name)
        return constants

    def constants_of(self, kernel: Kernel) -> dict[str, int]:
        """Look up the integer values of a kernel's constexpr parameters, by name: the largest of each."""
        found = sorted((c.value, c.name) for c in self.constants if c.kernel is kernel)
        return {name: value for value, name in found}

    def _constants(self, kernel: Kernel, launch: Launch, name: str) -> list[Constant]:
        """List the literals of a parameter: one, or both of `a if condition else b`."""
        value = launch.arguments[name].value
        literal = self.resolve(value, launch.function)
        literals = [literal.orelse, literal.body] if isinstance(literal, cst.IfExp) else [literal]
        numbers = [syntax.integer(each) for each in literals]
        if None in numbers or any(isinstance(each, cst.Name) for each in literals):
            return []
        variable = value.value if isinstance(value, cst.Name) else ""
        return [
            Constant(kernel, launch, name, number, each, variable)
            for number, each in zip(numbers, literals, strict=True)
            if number is not None and each is not None
        ]

    def resolve(self, value: cst.BaseExpression, function: cst.FunctionDef) -> cst.BaseExpression | None:
        """Follow an expression in a function through names that are assigned once; None for other names."""
        for _ in range(4):
            if not isinstance(value, cst.Name):
                return value
            local = _bindings(function.body)
            if value.value in local:
                bound: cst.BaseExpression | None = local[value.value]
            elif value.value in _stored(function):
                return None
            else:
                bound = self.bindings.get(value.value)
            if bound is None:
                return None
            value = bound
        return None


class _Spans(ByteSpanPositionProvider):
    """Find where nodes lie in the source; libcst's `MetadataWrapper` would visit every node once more."""

    def of(self, tree: cst.Module) -> Mapping[cst.CSTNode, CodeSpan]:
        """Return the place of each node."""
        self._gen_impl(tree)
        return {node: span for node, span in self._computed.items() if isinstance(span, CodeSpan)}


@lru_cache(maxsize=32)
def parse(source: str) -> TritonModule | None:
    """Parse a source into a model; None when the source is not Python."""
    try:
        tree = cst.parse_module(source)
        spans = _Spans().of(tree)
    except (cst.ParserSyntaxError, cst.CSTValidationError, RecursionError, UnicodeError):
        return None
    kernels = tuple(k for s in tree.body if isinstance(s, cst.FunctionDef) for k in _kernel(s))
    bindings = _bindings(tree)
    launches = tuple(_launches(tree, kernels, bindings))
    kernels = tuple(_with_tiles(kernel, launches) for kernel in kernels)
    return TritonModule(source, tree, spans, kernels, launches, bindings, _imports(tree))


def unused(name: str, taken: frozenset[str]) -> str:
    """Return the name, with the first number that makes it new if it is taken."""
    if name not in taken:
        return name
    return next(f"{name}_{n}" for n in range(2, len(taken) + 3) if f"{name}_{n}" not in taken)


def _imports(tree: cst.Module) -> bool:
    text = {syntax.code(s) for line in tree.body if isinstance(line, cst.SimpleStatementLine) for s in line.body}
    language = {"import triton.language as tl", "from triton import language as tl"}
    return bool(text & language) and "import triton" in text


def _block(body: cst.BaseSuite) -> Sequence[cst.BaseStatement]:
    return body.body if isinstance(body, cst.IndentedBlock) else ()


def _is_docstring(statement: cst.BaseStatement) -> bool:
    return (
        isinstance(statement, cst.SimpleStatementLine)
        and isinstance(statement.body[0], cst.Expr)
        and isinstance(statement.body[0].value, (cst.SimpleString, cst.ConcatenatedString))
    )


def _kernel(function: cst.FunctionDef) -> list[Kernel]:
    decorators = [_decorator(d) for d in function.decorators]
    if not set(decorators) & JIT or not isinstance(function.body, cst.IndentedBlock):
        return []
    p = function.params
    odd = bool(p.kwonly_params or p.posonly_params or p.star_kwarg or isinstance(p.star_arg, cst.Param))
    odd = odd or not set(decorators) <= JIT | AUTOTUNE
    parameters = tuple(Parameter(x.name.value, _constexpr(x), x.default, x) for x in p.params)
    return [Kernel(function.name.value, function, parameters, bool(set(decorators) & AUTOTUNE), odd)]


def _with_tiles(kernel: Kernel, launches: Sequence[Launch]) -> Kernel:
    """Note the tiles of descriptors, where the only launch tells them."""
    own = [launch for launch in launches if launch.kernel == kernel.name]
    if len(own) != 1:
        return kernel
    local, found = _bindings(own[0].function.body), dict[str, tuple[str, ...]]()
    constants = {syntax.code(own[0].arguments[p.name].value): p.name for p in kernel.parameters
                 if p.constexpr and p.name in own[0].arguments}  # fmt: skip
    for name, passed in own[0].arguments.items():
        made = local.get(passed.value.value) if isinstance(passed.value, cst.Name) else passed.value
        tile = tile_of(made, constants)
        if tile is not None:
            found[name] = tile
    return replace(kernel, tiles=found) if found else kernel


def _decorator(decorator: cst.Decorator) -> str:
    node = decorator.decorator
    return syntax.called(node) if isinstance(node, cst.Call) else syntax.dotted(node)


def _constexpr(parameter: cst.Param) -> bool:
    return parameter.annotation is not None and "constexpr" in syntax.code(parameter.annotation.annotation)


@lru_cache(maxsize=256)
def _stored(scope: cst.CSTNode) -> list[str]:
    """List the names that a scope assigns in any way, once per assignment."""
    names = []
    for node in syntax.walk(scope):
        match node:
            case cst.AssignTarget() | cst.For() | cst.AugAssign() | cst.AnnAssign() | cst.NamedExpr() | cst.CompFor():
                names += _targets(node.target)
            case cst.Param():
                names.append(node.name.value)
    return names


def _targets(target: cst.CSTNode) -> list[str]:
    if isinstance(target, (cst.Tuple, cst.List)):
        return [name for e in target.elements for name in _targets(e.value)]
    return [target.value] if isinstance(target, cst.Name) else []


@lru_cache(maxsize=256)
def _bindings(scope: cst.CSTNode) -> dict[str, cst.BaseExpression]:
    """Find the names that a scope assigns exactly once, with their values; inner functions count as the scope."""
    if isinstance(scope, cst.Module):
        lines = [s for s in scope.body if isinstance(s, cst.SimpleStatementLine)]
        stored = [name for line in lines for name in _stored(line)]
    else:
        lines = [s for s in syntax.walk(scope) if isinstance(s, cst.SimpleStatementLine)]
        stored = _stored(scope)
    pairs = [pair for line in lines for small in line.body for pair in _pairs(small)]
    return {name: value for name, value in pairs if stored.count(name) == 1}


def _pairs(statement: cst.BaseSmallStatement) -> list[tuple[str, cst.BaseExpression]]:
    single = syntax.assigned(statement)
    if single:
        return [single]
    if isinstance(statement, cst.Assign) and len(statement.targets) == 1:
        left = syntax.expressions(statement.targets[0].target) if _display(statement.targets[0].target) else None
        right = syntax.expressions(statement.value)
        if left and right and len(left) == len(right):
            return [(n.value, v) for n, v in zip(left, right, strict=True) if isinstance(n, cst.Name)]
    return []


def _display(node: cst.CSTNode) -> bool:
    return isinstance(node, (cst.Tuple, cst.List))


def _launches(tree: cst.Module, kernels: Sequence[Kernel], outer: Mapping[str, cst.BaseExpression]) -> list[Launch]:
    by_name = {k.name: k for k in kernels}
    launches = []
    for function in tree.body:
        if isinstance(function, cst.FunctionDef) and function.name.value not in by_name:
            local = _bindings(function.body)
            for statement in syntax.walk(function.body):
                if isinstance(statement, cst.SimpleStatementLine):
                    for call in (n for n in syntax.walk(statement) if isinstance(n, cst.Call)):
                        if isinstance(call.func, cst.Subscript) and syntax.dotted(call.func.value) in by_name:
                            kernel = by_name[syntax.dotted(call.func.value)]
                            launches.append(_launch(kernel, call, statement, function, local))
    return launches


def _launch(
    kernel: Kernel,
    call: cst.Call,
    statement: cst.SimpleStatementLine,
    function: cst.FunctionDef,
    local: Mapping[str, cst.BaseExpression],
) -> Launch:
    plain = [a for a in call.args if a.keyword is None and not a.star]
    by_keyword = {a.keyword.value: a for a in call.args if a.keyword is not None}
    parameters = [p.name for p in kernel.parameters]
    opaque = syntax.starred(call) or len(plain) > len(parameters)
    arguments = dict(zip(parameters, plain, strict=False))
    arguments |= {name: a for name, a in by_keyword.items() if name in parameters}
    options = {name: a for name, a in by_keyword.items() if name in OPTIONS and name not in parameters}
    return Launch(
        kernel.name, call, statement, function, arguments, options, _grid(call, statement, function, local), opaque
    )


def _grid(
    call: cst.Call,
    statement: cst.SimpleStatementLine,
    function: cst.FunctionDef,
    local: Mapping[str, cst.BaseExpression],
) -> Grid | None:
    assert isinstance(call.func, cst.Subscript)
    index = call.func.slice[0].slice
    if len(call.func.slice) != 1 or not isinstance(index, cst.Index):
        return None
    value: cst.BaseExpression = index.value
    holder: cst.CSTNode = statement
    if isinstance(value, cst.Name):
        read = sum(isinstance(n, cst.Name) and n.value == value.value for n in syntax.walk(function.body))
        if value.value not in local or read > 2:  # a grid that another launch uses too must stay as it is
            return None
        holder = _holder(function, local[value.value]) or statement
        value = local[value.value]
    meta = ""
    if isinstance(value, cst.Lambda):
        if len(value.params.params) != 1:
            return None
        meta, value = value.params.params[0].name.value, value.body
    elements = syntax.expressions(value)
    if elements is None or not isinstance(value, (cst.Tuple, cst.List)) or not 1 <= len(elements) <= 3:
        return None
    return Grid(tuple(elements), meta, holder, value)


def _holder(function: cst.FunctionDef, value: cst.BaseExpression) -> cst.CSTNode | None:
    for statement in syntax.walk(function.body):
        if isinstance(statement, cst.SimpleStatementLine) and any(n is value for n in syntax.walk(statement)):
            return statement
    return None
