"""Infer the shapes of the values in a kernel, as texts of its source, and what the values depend on.

A small abstract interpretation: each expression gets a shape (a tuple of dimension texts, `()` for a scalar, None when
it is not known) and the set of what its value varies with.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache

import libcst as cst

from kopt.rewrite.source import syntax
from kopt.rewrite.source.module import Kernel

Shape = tuple[str, ...] | None
"""Texts of the dimensions, e.g. `("BLOCK_M", "1")`; None when they are not known."""

LOADED = "load"
REDUCTIONS = frozenset({"tl.sum", "tl.max", "tl.min", "tl.argmax", "tl.argmin", "tl.reduce"})
FILLS = frozenset({"tl.zeros", "tl.full"})
ELEMENTWISE = frozenset({
    "tl.where", "tl.exp", "tl.exp2", "tl.log", "tl.log2", "tl.sqrt", "tl.rsqrt", "tl.sqrt_rn", "tl.sigmoid",
    "tl.maximum", "tl.minimum", "tl.abs", "tl.fma", "tl.sin", "tl.cos", "tl.erf", "tl.floor", "tl.ceil", "tl.cast",
    "tl.multiple_of", "tl.max_contiguous", "tl.div_rn", "tl.fdiv", "tl.cdiv", "tl.clamp",
})  # fmt: skip


@dataclass(frozen=True)
class Abstract:
    """Shape of a value and what it varies with: `program:0`, `loop:<name>`, `load`, names of parameters."""

    shape: Shape = ()
    deps: frozenset[str] = frozenset()

    @property
    def programs(self) -> frozenset[int]:
        """Grid axes that the value varies with."""
        return frozenset(int(d[8:]) for d in self.deps if d.startswith("program:"))


@dataclass
class _Reader:
    tiles: Mapping[str, tuple[str, ...]]
    abstract_of: dict[cst.CSTNode, Abstract] = field(default_factory=dict)
    env: dict[str, Abstract] = field(default_factory=dict)

    def statements(self, body: Sequence[cst.CSTNode]) -> None:
        for statement in body:
            self.statement(statement)

    def statement(self, node: cst.CSTNode) -> None:
        match node:
            case cst.SimpleStatementLine():
                self.statements(node.body)
            case cst.Assign():
                value = self.read(node.value)
                for target in node.targets:
                    self.bind(target.target, value)
            case cst.AnnAssign():
                if node.value is not None:
                    self.bind(node.target, self.read(node.value))
            case cst.AugAssign():
                self.bind(node.target, joined(self.read(node.target), self.read(node.value)))
            case cst.For():
                self.loop(node)
            case cst.If():
                self.branch(node)
            case cst.While():
                for _ in range(2):
                    self.read(node.test)
                    self.statement(node.body)
            case cst.IndentedBlock() | cst.SimpleStatementSuite():
                self.statements(node.body)
            case cst.Expr():
                self.read(node.value)

    def loop(self, node: cst.For) -> None:
        bounds = self.read(node.iter)
        for _ in range(2):
            loop = f"loop:{syntax.code(node.target)}"
            self.bind(node.target, Abstract((), bounds.deps | {loop}))
            before = dict(self.env)
            self.statement(node.body)
            self.merge(before)

    def branch(self, node: cst.If) -> None:
        test = self.read(node.test)
        before = dict(self.env)
        self.statement(node.body)
        after, self.env = self.env, dict(before)
        if isinstance(node.orelse, cst.If):
            self.branch(node.orelse)
        elif node.orelse is not None:
            self.statement(node.orelse.body)
        self.merge(after)
        for name, value in self.env.items():
            if before.get(name) != value:
                self.env[name] = Abstract(value.shape, value.deps | test.deps)

    def merge(self, branch: Mapping[str, Abstract]) -> None:
        for name, value in branch.items():
            self.env[name] = joined(value, self.env[name]) if name in self.env else value

    def bind(self, target: cst.CSTNode, value: Abstract) -> None:
        if isinstance(target, cst.Name):
            self.env[target.value] = value
        elif isinstance(target, (cst.Tuple, cst.List)):
            for element in target.elements:
                self.bind(element.value, Abstract(None, value.deps))

    def read(self, node: cst.CSTNode) -> Abstract:
        value = self._read(node)
        self.abstract_of[node] = value
        return value

    def _read(self, node: cst.CSTNode) -> Abstract:
        match node:
            case cst.Name():
                return self.env.get(node.value, Abstract())
            case cst.BinaryOperation():
                return joined(self.read(node.left), self.read(node.right))
            case cst.BooleanOperation():
                return joined(self.read(node.left), self.read(node.right))
            case cst.UnaryOperation():
                return self.read(node.expression)
            case cst.Comparison():
                return joined(self.read(node.left), *(self.read(c.comparator) for c in node.comparisons))
            case cst.IfExp():
                return joined(self.read(node.test), self.read(node.body), self.read(node.orelse))
            case cst.Attribute():
                return self.attribute(node)
            case cst.Subscript():
                return self.subscript(node)
            case cst.Call():
                return self.call(node)
            case cst.Tuple() | cst.List():
                parts = [self.read(e.value) for e in node.elements]
                return Abstract(None, joined(*parts).deps)
            case cst.Integer() | cst.Float() | cst.SimpleString():
                return Abstract()
        return Abstract(None)

    def attribute(self, node: cst.Attribute) -> Abstract:
        if syntax.dotted(node).split(".")[0] in ("tl", "triton", "libdevice"):
            return Abstract()
        value = self.read(node.value)
        if node.attr.value == "T":
            return Abstract(value.shape[::-1] if value.shape is not None else None, value.deps)
        return Abstract((), frozenset()) if node.attr.value in ("dtype", "element_ty") else Abstract(None, value.deps)

    def subscript(self, node: cst.Subscript) -> Abstract:
        value = self.read(node.value)
        return Abstract(_indexed(value.shape, [syntax.code(e.slice) for e in node.slice]), value.deps)

    def call(self, node: cst.Call) -> Abstract:
        name = syntax.called(node)
        parts = [self.read(a.value) for a in node.args]
        whole = joined(*parts) if parts else Abstract()
        match name:
            case "tl.program_id":
                axis = syntax.argument(node, 0, "axis")
                return Abstract((), frozenset({f"program:{syntax.code(axis.value) if axis else 0}"}))
            case "tl.arange":
                return Abstract(_arange(node))
            case "tl.dot":
                return self.dot(node, parts, whole)
            case "tl.reshape" if len(node.args) == 2:
                return Abstract(_filled(node.args[1].value), whole.deps)
            case "tl.trans" if len(parts) == 1:
                return Abstract(parts[0].shape[::-1] if parts[0].shape is not None else None, whole.deps)
            case "tl.load":
                return Abstract(parts[0].shape if parts else None, whole.deps | {LOADED})
            case "tl.store":
                return Abstract((), whole.deps)
            case "tl.num_programs" | "range" | "tl.range" | "tl.static_range" | "min" | "max" | "float" | "int":
                return Abstract(whole.shape, whole.deps)
        if name in FILLS:
            first = syntax.argument(node, 0, "shape")
            return Abstract(_filled(first.value) if first else None, frozenset())
        if name in REDUCTIONS:
            return Abstract(reduced(parts[0].shape if parts else None, node), whole.deps)
        if name in ELEMENTWISE or name.startswith(("tl.math.", "libdevice.", "tl.extra.")):
            return whole
        return self.method(node, whole)

    def method(self, node: cst.Call, whole: Abstract) -> Abstract:
        if isinstance(node.func, cst.Attribute) and not syntax.dotted(node.func).startswith(("tl.", "triton.")):
            value = self.read(node.func.value)
            if node.func.attr.value in ("to", "cast"):
                return value
            if described_access(node, "load") in self.tiles:
                return Abstract(self.tiles[described_access(node, "load")], value.deps | whole.deps | {LOADED})
            return Abstract(None, value.deps | whole.deps)
        return Abstract(None, whole.deps)

    def dot(self, node: cst.Call, parts: Sequence[Abstract], whole: Abstract) -> Abstract:
        if len(parts) < 2 or any(p.shape is None or len(p.shape) != 2 for p in parts[:2]):
            return Abstract(None, whole.deps)
        left, right = parts[0].shape, parts[1].shape
        assert left is not None
        assert right is not None
        return Abstract((left[0], right[1]), whole.deps)


@lru_cache(maxsize=64)
def analyse(kernel: Kernel) -> Mapping[cst.CSTNode, Abstract]:
    """Infer shape and dependencies of every expression of a kernel, by node."""
    reader = _Reader(kernel.tiles, env={p.name: Abstract((), frozenset({p.name})) for p in kernel.parameters})
    reader.statements(kernel.body)
    return reader.abstract_of


def described_access(node: cst.CSTNode, kind: str) -> str:
    """Name the descriptor by which a call loads or stores a tile (`kind`: "load" or "store"); empty for other nodes."""
    if not isinstance(node, cst.Call) or not isinstance(node.func, cst.Attribute) or node.func.attr.value != kind:
        return ""
    return node.func.value.value if isinstance(node.func.value, cst.Name) and node.func.value.value != "tl" else ""


def joined(*values: Abstract) -> Abstract:
    """Broadcast several values."""
    shape: Shape = ()
    for value in values:
        shape = broadcast(shape, value.shape)
    return Abstract(shape, frozenset().union(*(v.deps for v in values)))


def broadcast(left: Shape, right: Shape) -> Shape:
    """Broadcast two shapes as an elementwise operation does; None when the result is not known."""
    if left is None or right is None:
        return None
    rank = max(len(left), len(right))
    left, right = (("1",) * (rank - len(shape)) + shape for shape in (left, right))
    pairs = list(zip(left, right, strict=True))
    if any(a != b and "1" not in (a, b) for a, b in pairs):
        return None
    return tuple(b if a == "1" else a for a, b in pairs)


def reduced(shape: Shape, call: cst.Call) -> Shape:
    """Infer the shape after a reduction call."""
    axis = syntax.argument(call, 1, "axis")
    keep = syntax.keyword(call, "keep_dims")
    if axis is None or syntax.code(axis.value) == "None":
        return () if keep is None else None
    number = syntax.integer(axis.value)
    if shape is None or number is None or number >= len(shape):
        return None
    kept = ("1",) if keep is not None and syntax.code(keep.value) == "True" else ()
    return shape[:number] + kept + shape[number + 1 :]


def _arange(call: cst.Call) -> Shape:
    match [syntax.code(a.value) for a in call.args]:
        case ["0", end]:
            return (end,)
    return None


def _filled(shape: cst.BaseExpression) -> Shape:
    elements = syntax.expressions(shape)
    if elements is not None:
        return tuple(syntax.code(e) for e in elements)
    return None


def _indexed(shape: Shape, index: Sequence[str]) -> Shape:
    if shape is None:
        return None
    rest = list(shape)
    result = []
    for item in index:
        if item == "None":
            result.append("1")
        elif item == ":" and rest:
            result.append(rest.pop(0))
        else:
            return None
    return tuple(result + rest)
