"""Translate a kernel's TTIR into a Python function that computes with NumPy.

The function's lines are those of the kernel's own text, so that an error names the kernel's line.  Blocks of a function
become cases of one loop; loops, conditions, reductions and scans become Python's, and every other operation becomes an
assignment of its expression.  `Any` stands for numbers and arrays.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from kopt.device.interpret import assembly, numbers, operations
from kopt.device.interpret.expressions import NAMES, Scope, expression
from kopt.device.interpret.ttir import Block, Function, Operation, Region

KernelFunction = Callable[..., None]
"""Called with the memory, the program's indices, the grid, and the kernel's arguments."""

_NOTHING = frozenset({"tt.print", "gpu.barrier", "ttg.barrier", "ttg.async_wait", "tt.func", "gpu.printf"})
"""Operations that do nothing in a program that runs alone."""


class _Line(NamedTuple):
    text: str
    source: int
    """Line of the kernel's file."""


def translate(functions: Mapping[str, Function], name: str, file: str) -> KernelFunction:
    """Return the kernel among the functions as a Python function called `name`.

    Raises:
        Unsupported: the kernel has an operation that the interpreter does not know.
    """
    namespace: dict[str, Any] = {**NAMES, "count": count}
    names = {function.name: f"f{number}" for number, function in enumerate(functions.values())}
    entry = next(function for function in functions.values() if function.public)
    names[entry.name] = name if name.isidentifier() else "kernel"
    lines: list[_Line] = []
    for function in functions.values():
        scope = Scope(namespace, used=set(_operands(function.body)))
        lines += _Translator(names, scope).function(function)
    tree = ast.parse("\n".join(line.text for line in lines))
    for node in ast.walk(tree):
        if isinstance(node, ast.stmt | ast.expr | ast.arg | ast.keyword | ast.alias):
            node.lineno = node.end_lineno = max(1, lines[node.lineno - 1].source)
            node.col_offset = node.end_col_offset = 0
    exec(compile(tree, file, "exec"), namespace)
    kernel: KernelFunction = namespace[names[entry.name]]
    return kernel


def count(low: Any, high: Any, step: Any, kind: type[np.integer[Any]]) -> Iterator[Any]:
    """Yield the values of a loop variable.

    Raises:
        ValueError: the step is not positive.
    """
    if int(step) <= 0:
        raise ValueError(f"a loop's step must be positive in TTIR, not {int(step)}")
    return map(kind, range(int(low), int(high), int(step)))


class _Translator:
    """Translate one function."""

    def __init__(self, names: Mapping[str, str], scope: Scope) -> None:
        self._functions, self._scope = names, scope
        self._lines: list[_Line] = []

    def function(self, function: Function) -> list[_Line]:
        """Return the lines of a function."""
        self._define(self._functions[function.name], ["M", "P", "G"], function.body, 0)
        return self._lines

    # --- structure ----------------------------------------------------------------------------------------------------

    def _define(self, name: str, parameters: list[str], region: Region, indent: int) -> None:
        first = region.blocks[0]
        self._write(f"def {name}({', '.join([*parameters, *self._scope.names(first.arguments)])}):", indent)
        if len(region.blocks) == 1:
            self._block(first, indent + 1, {})
            return
        labels = {block.label: number for number, block in enumerate(region.blocks)}
        targets = {block.label: block for block in region.blocks}
        self._write("block = 0", indent + 1)
        self._write("while True:", indent + 1)
        for block in region.blocks:
            self._write(f"if block == {labels[block.label]}:", indent + 2)
            self._block(block, indent + 3, {label: (labels[label], targets[label]) for label in labels})

    def _block(self, block: Block, indent: int, targets: Mapping[str, tuple[int, Block]]) -> None:
        for operation in block.operations:
            self._scope.line = operation.line or self._scope.line
            self._operation(operation, indent, targets)

    def _operation(self, operation: Operation, indent: int, targets: Mapping[str, tuple[int, Block]]) -> None:
        name = operation.name
        if name in _NOTHING:
            self._write("pass", indent)
        elif name.endswith(".return"):
            self._write(f"return {self._tuple(operation.operands)}", indent)
        elif name == "cf.br":
            self._jump(operation.successors[0], operation.operands, indent, targets)
        elif name == "cf.cond_br":
            (condition,), first, second = operation.segments()
            self._write(f"if {self._scope.name(condition)}:", indent)
            self._jump(operation.successors[0], first, indent + 1, targets)
            self._jump(operation.successors[1], second, indent, targets)
        elif name in _STRUCTURES:
            _STRUCTURES[name](self, operation, indent)
        else:
            self._assign(operation.results, expression(self._scope, operation), indent)

    def _jump(self, label: str, operands: Sequence[str], indent: int, targets: Mapping[str, tuple[int, Block]]) -> None:
        number, block = targets[label]
        self._assign(block.arguments, ", ".join(self._scope.names(operands)), indent)
        self._write(f"block = {number}", indent)
        self._write("continue", indent)

    def _for(self, operation: Operation, indent: int) -> None:
        (body,) = operation.regions[0].blocks
        variable, carried = body.arguments[0], body.arguments[1:]
        low, high, step = self._scope.names(operation.operands[:3])
        self._assign(carried, ", ".join(self._scope.names(operation.operands[3:])), indent)
        kind = f"np.{numbers.held(body.types[0].element).name}"
        if "unsignedCmp" in operation.properties:
            low, high, step = (f"n.unsigned({bound})" for bound in (low, high, step))
            kind = f"lambda value: np.array(value, 'u8').astype({kind})[()]"
        self._write(f"for {self._scope.name(variable)} in count({low}, {high}, {step}, {kind}):", indent)
        self._body(body, carried, indent + 1)
        self._assign(operation.results, ", ".join(self._scope.names(carried)), indent)

    def _body(self, body: Block, carried: Sequence[str], indent: int) -> None:
        """Write a block whose last operation yields the values of `carried`."""
        *operations_, last = body.operations
        self._block(Block("", [], [], operations_), indent, {})
        if carried:
            self._assign(carried, ", ".join(self._scope.names(last.operands)), indent)
        elif not operations_:
            self._write("pass", indent)

    def _if(self, operation: Operation, indent: int) -> None:
        self._write(f"if {self._scope.name(operation.operands[0])}:", indent)
        self._body(operation.regions[0].blocks[0], operation.results, indent + 1)
        if len(operation.regions) > 1 and operation.regions[1].blocks:
            self._write("else:", indent)
            self._body(operation.regions[1].blocks[0], operation.results, indent + 1)

    def _while(self, operation: Operation, indent: int) -> None:
        (before,), (after,) = operation.regions[0].blocks, operation.regions[1].blocks
        self._assign(before.arguments, ", ".join(self._scope.names(operation.operands)), indent)
        self._write("while True:", indent)
        *operations_, last = before.operations
        self._block(Block("", [], [], operations_), indent + 1, {})
        condition, *values = self._scope.names(last.operands)
        self._assign(after.arguments, ", ".join(values), indent + 1)
        self._write(f"if not {condition}: break", indent + 1)
        self._body(after, before.arguments, indent + 1)
        self._assign(operation.results, ", ".join(self._scope.names(after.arguments)), indent)

    def _reduce(self, operation: Operation, indent: int) -> None:
        shape = operation.operand_types[0].shape
        rest = f"{shape}, {operation.integer('axis')}"
        scans = operation.name == "tt.scan"
        if scans:
            rest += f", {operation.flag('reverse')}"
        body = operation.regions[0].blocks[0]
        function = _ufunc(body, operation.operand_types[0].element)
        values = self._scope.names(operation.operands)
        if function is not None:
            by = self._scope.constant(function)
            self._assign(operation.results, f"o.{'scan' if scans else 'reduce'}_by({by}, {values[0]}, {rest})", indent)
            return
        combine = self._new("combine")
        self._define(combine, [], operation.regions[0], indent)
        call = f"o.{'scan' if scans else 'reduce'}({combine}, ({', '.join(values)},), {rest})"
        self._assign(operation.results, call, indent, unpack=True)

    def _map(self, operation: Operation, indent: int) -> None:
        function = self._new("function")
        self._define(function, [], operation.regions[0], indent)
        dtypes = self._scope.constant([numbers.held(kind.element) for kind in operation.result_types])
        values = ", ".join(self._scope.names(operation.operands))
        shape, pack = operation.operand_types[0].shape, operation.integer("pack", 1)
        call = f"o.map_elements({function}, ({values},), {shape}, {pack}, {dtypes})"
        self._assign(operation.results, call, indent, unpack=True)

    def _call(self, operation: Operation, indent: int) -> None:
        callee = re.search(r'callee = @(?:"([^"]*)"|([\w.$]+))', operation.properties)
        assert callee is not None
        function = self._functions[callee.group(1) or callee.group(2)]
        call = f"{function}({', '.join(['M', 'P', 'G', *self._scope.names(operation.operands)])})"
        self._assign(operation.results, call, indent, unpack=True)

    def _split(self, operation: Operation, indent: int) -> None:
        (value,) = self._scope.names(operation.operands)
        self._assign(operation.results, f"o.split({value}, {operation.operand_types[0].shape})", indent)

    def _assembly(self, operation: Operation, indent: int) -> None:
        program = assembly.read(operation.text("asm_string"), operation.text("constraints"))
        run = partial(
            program,
            pack=operation.integer("packed_element", 1),
            elements=tuple(kind.element for kind in operation.operand_types),
            results=tuple(kind.element for kind in operation.result_types),
            shape=next((kind.shape for kind in operation.result_types), None),
        )
        call = f"{self._scope.constant(run)}({', '.join(self._scope.names(operation.operands))})"
        self._assign(operation.results, call, indent, unpack=True)

    # --- lines --------------------------------------------------------------------------------------------------------

    def _assign(self, targets: Sequence[str], value: str, indent: int, *, unpack: bool = False) -> None:
        if not targets:
            if value:
                self._write(value, indent)
            return
        names = ", ".join(self._scope.names(targets))
        self._write(f"{names}{',' if unpack and len(targets) == 1 else ''} = {value}", indent)

    def _write(self, text: str, indent: int) -> None:
        self._lines.append(_Line(" " * indent + text, self._scope.line))

    def _tuple(self, values: Sequence[str]) -> str:
        return f"({', '.join(self._scope.names(values))},)" if values else ""

    def _new(self, prefix: str) -> str:
        return f"{prefix}{len(self._lines)}"


Structure = Callable[[_Translator, Operation, int], None]
"""Writes the lines of an operation at an indent."""

_STRUCTURES: dict[str, Structure] = {
    "scf.for": _Translator._for, "scf.if": _Translator._if, "scf.while": _Translator._while,
    "tt.reduce": _Translator._reduce, "tt.scan": _Translator._reduce, "tt.map_elementwise": _Translator._map,
    "tt.call": _Translator._call, "tt.split": _Translator._split, "tt.elementwise_inline_asm": _Translator._assembly,
}  # fmt: skip


def _operands(region: Region) -> Iterator[str]:
    """Yield the operands of all operations in a region, those inside their regions included."""
    for block in region.blocks:
        for operation in block.operations:
            yield from operation.operands
            for inner in operation.regions:
                yield from _operands(inner)


def _ufunc(body: Block, element: str) -> np.ufunc | None:
    """Return NumPy's function for a combination by one operation on the block's two arguments; None for any other."""
    if len(body.operations) != 2 or len(body.arguments) != 2 or (element not in numbers.NATIVE and element[0] != "i"):
        return None
    operation, last = body.operations
    if operation.operands != body.arguments or last.operands != operation.results:
        return None
    if element == "i1" and operation.name not in ("arith.andi", "arith.ori", "arith.xori"):
        return None
    return operations.REDUCTIONS.get(operation.name)
