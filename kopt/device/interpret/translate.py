"""Translate a kernel's TTIR into a Python function that computes with NumPy.

The function's lines are those of the kernel's own text, so that an error names the kernel's line.  Blocks of a function
become cases of one loop; loops, conditions, reductions and scans become Python's.  `Any` stands for numbers and arrays.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from kopt.device.interpret import assembly, device_library, memory, numbers, operations, products
from kopt.device.interpret.session import Unsupported
from kopt.device.interpret.ttir import Block, Function, Operation, Region, Type

KernelFunction = Callable[..., None]
"""Called with the memory, the program's indices, the grid, and the kernel's arguments."""

_ARITHMETIC = {
    "addi": "{0} + {1}", "subi": "{0} - {1}", "muli": "{0} * {1}", "divsi": "o.divide({0}, {1})",
    "divui": "o.unsigned_divide({0}, {1})", "remsi": "o.remainder({0}, {1})",
    "remui": "o.unsigned_remainder({0}, {1})", "andi": "{0} & {1}", "ori": "{0} | {1}", "xori": "{0} ^ {1}",
    "shli": "o.shift_left({0}, {1})", "shrsi": "o.shift_right({0}, {1})", "shrui": "o.unsigned_shift_right({0}, {1})",
    "maxsi": "np.maximum({0}, {1})", "minsi": "np.minimum({0}, {1})",
    "maxui": "o.unsigned_of(np.maximum, {0}, {1})", "minui": "o.unsigned_of(np.minimum, {0}, {1})",
    "addf": "{0} + {1}", "subf": "{0} - {1}", "mulf": "{0} * {1}", "divf": "{0} / {1}", "remf": "np.fmod({0}, {1})",
    "negf": "-{0}", "maximumf": "np.maximum({0}, {1})", "minimumf": "np.minimum({0}, {1})",
    "maxnumf": "np.fmax({0}, {1})", "minnumf": "np.fmin({0}, {1})", "select": "o.select({0}, {1}, {2})",
}  # fmt: skip
_MATHEMATICS = {
    "exp": "np.exp({0})", "exp2": "np.exp2({0})", "log": "np.log({0})", "log2": "np.log2({0})", "sin": "np.sin({0})",
    "cos": "np.cos({0})", "sqrt": "np.sqrt({0})", "rsqrt": "1 / np.sqrt({0})", "erf": "n.erf({0})",
    "tanh": "np.tanh({0})", "absf": "np.abs({0})", "absi": "np.abs({0})", "floor": "np.floor({0})",
    "ceil": "np.ceil({0})", "trunc": "np.trunc({0})", "fma": "o.fused({0}, {1}, {2})",
}  # fmt: skip
_LANGUAGE = {
    "splat": "{0}", "unsplat": "np.reshape({0}, -1)[0]", "broadcast": "{0}", "precise_sqrt": "np.sqrt({0})",
    "precise_divf": "{0} / {1}", "mulhiui": "o.high_half({0}, {1})", "int_to_ptr": "{0}", "ptr_to_int": "{0}",
}  # fmt: skip
_SIMPLE = (
    {f"arith.{name}": form for name, form in _ARITHMETIC.items()}
    | {f"math.{name}": form for name, form in _MATHEMATICS.items()}
    | {f"tt.{name}": form for name, form in _LANGUAGE.items()}
)
"""Python expressions of operations that need nothing but their operands."""

_NOTHING = frozenset({"tt.print", "gpu.barrier", "ttg.barrier", "ttg.async_wait", "tt.func", "gpu.printf"})
"""Operations that do nothing in a program that runs alone."""

_INTEGER_COMPARISONS = ("==", "!=", "<", "<=", ">", ">=")
_UNSIGNED_COMPARISONS = ("np.less", "np.less_equal", "np.greater", "np.greater_equal")


class _Line(NamedTuple):
    text: str
    source: int
    """Line of the kernel's file."""


def translate(functions: Mapping[str, Function], name: str, file: str) -> KernelFunction:
    """Return the kernel among the functions as a Python function called `name`.

    Raises:
        Unsupported: the kernel has an operation that this module does not know.
    """
    namespace: dict[str, Any] = {
        "np": np, "o": operations, "n": numbers, "m": memory, "products": products, "count": count, "check": check,
    }  # fmt: skip
    names = {function.name: f"f{number}" for number, function in enumerate(functions.values())}
    entry = next(function for function in functions.values() if function.public)
    names[entry.name] = name if name.isidentifier() else "kernel"
    lines: list[_Line] = []
    for function in functions.values():
        lines += _Translator(names, namespace).function(function)
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


def check(condition: Any, message: str) -> None:
    """Check an assertion or assumption of the kernel.

    Raises:
        AssertionError: it does not hold.
    """
    if not np.all(condition):
        raise AssertionError(message)


class _Translator:
    """Translate one function."""

    def __init__(self, names: Mapping[str, str], namespace: dict[str, Any]) -> None:
        self._functions, self._namespace = names, namespace
        self._lines: list[_Line] = []
        self._names: dict[str, str] = {}
        self._types: dict[str, Type] = {}
        self._used: set[str] = set()
        self._source = 0

    def function(self, function: Function) -> list[_Line]:
        """Return the lines of a function."""
        self._used = set(_operands(function.body))
        self._define(self._functions[function.name], ["M", "P", "G"], function.body, 0)
        return self._lines

    # --- structure ----------------------------------------------------------------------------------------------------

    def _define(self, name: str, parameters: list[str], region: Region, indent: int) -> None:
        first = region.blocks[0]
        self._arguments(first)
        self._write(f"def {name}({', '.join([*parameters, *self._of(first.arguments)])}):", indent)
        if len(region.blocks) == 1:
            self._block(first, indent + 1, {})
            return
        labels = {block.label: number for number, block in enumerate(region.blocks)}
        targets = {block.label: block for block in region.blocks}
        for block in region.blocks[1:]:
            self._arguments(block)
        self._write("block = 0", indent + 1)
        self._write("while True:", indent + 1)
        for block in region.blocks:
            self._write(f"if block == {labels[block.label]}:", indent + 2)
            self._block(block, indent + 3, {label: (labels[label], targets[label]) for label in labels})

    def _arguments(self, block: Block) -> None:
        for argument, kind in zip(block.arguments, block.types, strict=True):
            self._types[argument] = kind

    def _block(self, block: Block, indent: int, targets: Mapping[str, tuple[int, Block]]) -> None:
        for operation in block.operations:
            self._source = operation.line or self._source
            self._types.update(zip(operation.results, operation.result_types, strict=True))
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
            self._write(f"if {self._name(condition)}:", indent)
            self._jump(operation.successors[0], first, indent + 1, targets)
            self._jump(operation.successors[1], second, indent, targets)
        elif name in _STRUCTURES:
            _STRUCTURES[name](self, operation, indent)
        else:
            self._assign(operation.results, self._expression(operation), indent)

    def _jump(self, label: str, operands: Sequence[str], indent: int, targets: Mapping[str, tuple[int, Block]]) -> None:
        number, block = targets[label]
        self._assign(block.arguments, ", ".join(self._of(operands)), indent)
        self._write(f"block = {number}", indent)
        self._write("continue", indent)

    def _for(self, operation: Operation, indent: int) -> None:
        (body,) = operation.regions[0].blocks
        self._arguments(body)
        variable, carried = body.arguments[0], body.arguments[1:]
        low, high, step = self._of(operation.operands[:3])
        self._assign(carried, ", ".join(self._of(operation.operands[3:])), indent)
        kind = f"np.{numbers.held(self._types[variable].element).name}"
        if "unsignedCmp" in operation.properties:
            low, high, step = (f"n.unsigned({bound})" for bound in (low, high, step))
            kind = f"lambda value: np.array(value, 'u8').astype({kind})[()]"
        self._write(f"for {self._name(variable)} in count({low}, {high}, {step}, {kind}):", indent)
        self._body(body, carried, indent + 1)
        self._assign(operation.results, ", ".join(self._of(carried)), indent)

    def _body(self, body: Block, carried: Sequence[str], indent: int) -> None:
        """Write a block whose last operation yields the values of `carried`."""
        *operations_, last = body.operations
        self._block(Block("", [], [], operations_), indent, {})
        if carried:
            self._assign(carried, ", ".join(self._of(last.operands)), indent)
        elif not operations_:
            self._write("pass", indent)

    def _if(self, operation: Operation, indent: int) -> None:
        self._write(f"if {self._name(operation.operands[0])}:", indent)
        self._body(operation.regions[0].blocks[0], operation.results, indent + 1)
        if len(operation.regions) > 1 and operation.regions[1].blocks:
            self._write("else:", indent)
            self._body(operation.regions[1].blocks[0], operation.results, indent + 1)

    def _while(self, operation: Operation, indent: int) -> None:
        (before,), (after,) = operation.regions[0].blocks, operation.regions[1].blocks
        self._arguments(before)
        self._arguments(after)
        self._assign(before.arguments, ", ".join(self._of(operation.operands)), indent)
        self._write("while True:", indent)
        *operations_, last = before.operations
        self._block(Block("", [], [], operations_), indent + 1, {})
        condition, *values = self._of(last.operands)
        self._assign(after.arguments, ", ".join(values), indent + 1)
        self._write(f"if not {condition}: break", indent + 1)
        self._body(after, before.arguments, indent + 1)
        self._assign(operation.results, ", ".join(self._of(after.arguments)), indent)

    def _reduce(self, operation: Operation, indent: int) -> None:
        shape = operation.operand_types[0].shape
        rest = f"{shape}, {operation.integer('axis')}"
        scans = operation.name == "tt.scan"
        if scans:
            rest += f", {operation.flag('reverse')}"
        body = operation.regions[0].blocks[0]
        function = _ufunc(body, operation.operand_types[0].element)
        values = self._of(operation.operands)
        if function is not None:
            by = self._constant(function)
            self._assign(operation.results, f"o.{'scan' if scans else 'reduce'}_by({by}, {values[0]}, {rest})", indent)
            return
        combine = self._new("combine")
        self._define(combine, [], operation.regions[0], indent)
        call = f"o.{'scan' if scans else 'reduce'}({combine}, ({', '.join(values)},), {rest})"
        self._assign(operation.results, call, indent, unpack=True)

    def _map(self, operation: Operation, indent: int) -> None:
        function = self._new("function")
        self._define(function, [], operation.regions[0], indent)
        dtypes = self._constant([numbers.held(kind.element) for kind in operation.result_types])
        values = ", ".join(self._of(operation.operands))
        shape, pack = operation.operand_types[0].shape, operation.integer("pack", 1)
        call = f"o.map_elements({function}, ({values},), {shape}, {pack}, {dtypes})"
        self._assign(operation.results, call, indent, unpack=True)

    def _call(self, operation: Operation, indent: int) -> None:
        callee = re.search(r'callee = @(?:"([^"]*)"|([\w.$]+))', operation.properties)
        assert callee is not None
        function = self._functions[callee.group(1) or callee.group(2)]
        call = f"{function}({', '.join(['M', 'P', 'G', *self._of(operation.operands)])})"
        self._assign(operation.results, call, indent, unpack=True)

    def _split(self, operation: Operation, indent: int) -> None:
        (value,) = self._of(operation.operands)
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
        call = f"{self._constant(run)}({', '.join(self._of(operation.operands))})"
        self._assign(operation.results, call, indent, unpack=True)

    # --- expressions --------------------------------------------------------------------------------------------------

    def _expression(self, operation: Operation) -> str:
        """Return the Python expression of an operation."""
        operands = self._of(operation.operands)
        element = operation.result_types[0].element if operation.result_types else ""
        source = operation.operand_types[0] if operation.operand_types else Type("")
        name = operation.name
        if element == "i1" and name in ("arith.addi", "arith.subi"):
            return f"{operands[0]} ^ {operands[1]}"
        if element == "i1" and name == "arith.muli":
            return f"{operands[0]} & {operands[1]}"
        if name in _SIMPLE:
            expression = _SIMPLE[name].format(*operands)
            narrow = element == "bf16" or element in numbers.EIGHT_BITS
            if narrow and name not in ("tt.splat", "tt.unsplat", "tt.broadcast", "arith.select", "arith.negf"):
                return f"n.rounded({expression}, {element!r})"
            return expression
        if name in _EXPRESSIONS:
            return _EXPRESSIONS[name](self, operation, operands, source, element)
        raise Unsupported(f"the interpreter has no operation {name} (line {self._source})")

    def _constant_value(self, operation: Operation, *_: Any) -> str:
        return self._constant(_constant_of(operation.properties, operation.result_types[0]))

    def _comparison(self, operation: Operation, operands: list[str], *_: Any) -> str:
        predicate = operation.integer("predicate")
        if operation.name == "arith.cmpf":
            return f"{self._constant(operations.COMPARISONS[predicate])}({', '.join(operands)})"
        if predicate < 6:
            return f"{operands[0]} {_INTEGER_COMPARISONS[predicate]} {operands[1]}"
        return f"o.compare_unsigned({_UNSIGNED_COMPARISONS[predicate - 6]}, {', '.join(operands)})"

    def _address(self, operation: Operation, operands: list[str], source: Type, element: str) -> str:
        return f"{operands[0]} + {operands[1]} * {self._constant(np.int64(_size(source.pointee)))}"

    def _convert(self, operation: Operation, operands: list[str], source: Type, element: str) -> str:
        truncate = operation.name == "tt.fp_to_fp" and "rounding = 0" in operation.properties
        truncate = truncate or "roundingmode = 2" in operation.properties
        return f"n.rounded({operands[0]}, {element!r}, {truncate})"

    def _bitcast(self, operation: Operation, operands: list[str], source: Type, element: str) -> str:
        if "ptr" in (source.element, element) or source.element == element:
            return operands[0]
        return f"n.reinterpreted({operands[0]}, {source.element!r}, {element!r})"

    def _poison(self, operation: Operation, operands: list[str], source: Type, element: str) -> str:
        return self._constant(None if element == "descriptor" else numbers.missing(element))

    def _access(self, operation: Operation) -> str:
        pointer = operation.operand_types[0]
        observed = any(result in self._used for result in operation.results)
        order = operation.integer("sem", 4)
        volatile = "isVolatile = true" in operation.properties
        access = memory.Access(
            pointer.pointee, pointer.shape or (), volatile, observed, order in (2, 4), order in (3, 4)
        )
        return self._constant(access)

    def _load(self, operation: Operation, operands: list[str], source: Type, element: str) -> str:
        if source.element != "ptr":
            raise Unsupported(f"the interpreter has no load from {source.element} (line {self._source})")
        return f"M.load({', '.join([self._access(operation), *operands])})"

    def _store(self, operation: Operation, operands: list[str], *_: Any) -> str:
        return f"M.store({', '.join([self._access(operation), *operands])})"

    def _modify(self, operation: Operation, operands: list[str], *_: Any) -> str:
        return f"M.modify({self._access(operation)}, {operation.integer('atomic_rmw_op')}, {', '.join(operands)})"

    def _swap(self, operation: Operation, operands: list[str], *_: Any) -> str:
        return f"M.compare_and_swap({', '.join([self._access(operation), *operands])})"

    def _descriptor(self, operation: Operation, operands: list[str], *_: Any) -> str:
        rank = (len(operands) - 1) // 2
        kind = operation.result_types[0]
        sizes, strides = operands[1 : 1 + rank], operands[1 + rank :]
        nan = "padding = 2" in operation.properties
        return (
            f"m.make_descriptor({operands[0]}, ({', '.join(sizes)},), ({', '.join(strides)},), {kind.block}, "
            f"{kind.pointee!r}, {nan})"
        )

    def _on_descriptor(self, operation: Operation, operands: list[str], *_: Any) -> str:
        descriptor = operands[0]
        match operation.name.removeprefix("tt.descriptor_"):
            case "load":
                return f"M.load_block({descriptor}, ({', '.join(operands[1:])},), {operation.result_types[0].shape})"
            case "store":
                shape = operation.operand_types[1].shape
                return f"M.store_block({descriptor}, ({', '.join(operands[2:])},), {operands[1]}, {shape})"
            case "reduce":
                shape, kind = operation.operand_types[1].shape, operation.integer("kind")
                return f"M.reduce_block({descriptor}, ({', '.join(operands[2:])},), {operands[1]}, {shape}, {kind})"
            case "gather":
                return f"M.gather_rows({', '.join(operands)}, {operation.result_types[0].shape})"
            case _:
                rows, column, values = operands[1:]
                return f"M.scatter_rows({descriptor}, {rows}, {column}, {values}, {operation.operand_types[-1].shape})"

    def _dot(self, operation: Operation, operands: list[str], *_: Any) -> str:
        a, b, c = operation.operand_types
        precision = operation.integer("inputPrecision")
        shapes = self._constant((a, b, c))
        return f"products.dot({', '.join(operands)}, {shapes}, {precision})"

    def _dot_scaled(self, operation: Operation, operands: list[str], *_: Any) -> str:
        groups = [self._of(group) for group in operation.segments()] or [[operand] for operand in operands]
        groups += [[]] * (5 - len(groups))
        values = ", ".join(group[0] if group else "None" for group in groups)
        kinds = iter(operation.operand_types)
        types = self._constant(tuple(next(kinds) if group else None for group in groups))
        elements = operation.integer("a_elem_type"), operation.integer("b_elem_type")
        packed = "lhs_k_pack = false" not in operation.properties, "rhs_k_pack = false" not in operation.properties
        return f"products.dot_scaled({values}, {types}, {elements}, {packed})"

    def _library(self, operation: Operation, operands: list[str], source: Type, element: str) -> str:
        symbol = operation.text("symbol")
        function = device_library.function(symbol)
        if function is None:
            raise Unsupported(f"the interpreter does not know the device library's {symbol} (line {self._source})")
        kind = f"np.{numbers.held(element).name}"
        return f"np.asarray({self._constant(function)}({', '.join(operands)})).astype({kind})[()]"

    # --- names --------------------------------------------------------------------------------------------------------

    def _assign(self, targets: Sequence[str], value: str, indent: int, *, unpack: bool = False) -> None:
        if not targets:
            if value:
                self._write(value, indent)
            return
        names = ", ".join(self._of(targets))
        self._write(f"{names}{',' if unpack and len(targets) == 1 else ''} = {value}", indent)

    def _write(self, text: str, indent: int) -> None:
        self._lines.append(_Line(" " * indent + text, self._source))

    def _name(self, value: str) -> str:
        if value not in self._names:
            self._names[value] = f"v{len(self._names)}"
        return self._names[value]

    def _of(self, values: Sequence[str]) -> list[str]:
        return [self._name(value) for value in values]

    def _tuple(self, values: Sequence[str]) -> str:
        return f"({', '.join(self._of(values))},)" if values else ""

    def _new(self, prefix: str) -> str:
        return f"{prefix}{len(self._lines)}"

    def _constant(self, value: Any) -> str:
        name = f"c{len(self._namespace)}"
        self._namespace[name] = value
        return name


Structure = Callable[[_Translator, Operation, int], None]
Expression = Callable[[_Translator, Operation, list[str], Type, str], str]

_STRUCTURES: dict[str, Structure] = {
    "scf.for": _Translator._for, "scf.if": _Translator._if, "scf.while": _Translator._while,
    "tt.reduce": _Translator._reduce, "tt.scan": _Translator._reduce, "tt.map_elementwise": _Translator._map,
    "tt.call": _Translator._call, "tt.split": _Translator._split, "tt.elementwise_inline_asm": _Translator._assembly,
}  # fmt: skip

_EXPRESSIONS: dict[str, Expression] = {
    "arith.constant": _Translator._constant_value,
    "ub.poison": _Translator._poison,
    "arith.cmpi": _Translator._comparison,
    "arith.cmpf": _Translator._comparison,
    "arith.extf": lambda t, o, v, s, e: v[0] if e == "f32" and s.element not in numbers.NATIVE
    else f"np.asarray({v[0]}).astype(np.{numbers.held(e).name})[()]",
    "arith.truncf": _Translator._convert,
    "tt.fp_to_fp": _Translator._convert,
    "arith.extsi": lambda t, o, v, s, e: f"o.widen({v[0]}, {e!r}, True)",
    "arith.extui": lambda t, o, v, s, e: f"o.widen({v[0]}, {e!r}, False)",
    "arith.index_cast": lambda t, o, v, s, e: f"o.widen({v[0]}, {e!r}, True)",
    "arith.trunci": lambda t, o, v, s, e: f"o.narrow({v[0]}, {e!r})",
    "arith.sitofp": lambda t, o, v, s, e: f"o.from_integer({v[0]}, {e!r}, True)",
    "arith.uitofp": lambda t, o, v, s, e: f"o.from_integer({v[0]}, {e!r}, False)",
    "arith.fptosi": lambda t, o, v, s, e: f"n.saturated({v[0]}, {e!r}, True)",
    "arith.fptoui": lambda t, o, v, s, e: f"n.saturated({v[0]}, {e!r}, False)",
    "arith.bitcast": _Translator._bitcast,
    "tt.bitcast": _Translator._bitcast,
    "tt.clampf": lambda t, o, v, s, e: f"o.clamp({', '.join(v)}, {'propagateNan = 0' not in o.properties})",
    "tt.get_program_id": lambda t, o, v, s, e: f"P[{o.integer('axis')}]",
    "tt.get_num_programs": lambda t, o, v, s, e: f"G[{o.integer('axis')}]",
    "tt.make_range": lambda t, o, v, s, e: t._constant(
        np.arange(o.integer("start"), o.integer("end"), dtype=np.int32)
    ),
    "tt.expand_dims": lambda t, o, v, s, e: f"o.expand_dims({v[0]}, {o.integer('axis')})",
    "tt.reshape": lambda t, o, v, s, e: f"o.whole({v[0]}, {s.shape}).reshape({o.result_types[0].shape})",
    "tt.trans": lambda t, o, v, s, e: f"np.transpose(o.whole({v[0]}, {s.shape}), {o.integers('order')})",
    "tt.cat": lambda t, o, v, s, e: f"np.concatenate([o.whole({v[0]}, {s.shape}), o.whole({v[1]}, {s.shape})])",
    "tt.join": lambda t, o, v, s, e: f"o.join({v[0]}, {v[1]}, {s.shape})",
    "tt.gather": lambda t, o, v, s, e: (
        f"o.gather({v[0]}, {s.shape}, {v[1]}, {o.operand_types[1].shape}, {o.integer('axis')})"
    ),
    "tt.histogram": lambda t, o, v, s, e: (
        f"o.histogram({v[0]}, {s.shape}, {v[1] if len(v) > 1 else None}, {(o.result_types[0].shape or (0,))[0]}, {e!r})"
    ),
    "tt.addptr": _Translator._address,
    "tt.load": _Translator._load,
    "tt.store": _Translator._store,
    "tt.atomic_rmw": _Translator._modify,
    "tt.atomic_cas": _Translator._swap,
    "tt.make_tensor_descriptor": _Translator._descriptor,
    **{
        f"tt.descriptor_{name}": _Translator._on_descriptor
        for name in ("load", "store", "reduce", "gather", "scatter")
    },
    "tt.dot": _Translator._dot,
    "tt.dot_scaled": _Translator._dot_scaled,
    "tt.extern_elementwise": _Translator._library,
    "tt.assert": lambda t, o, v, s, e: f"check({v[0]}, {o.text('message')!r})",
    "llvm.intr.assume": lambda t, o, v, s, e: f"check({v[0]}, 'the condition of tl.assume does not hold')",
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


def _size(element: str) -> int:
    return numbers.stored(element).itemsize


def _constant_of(properties: str, kind: Type) -> Any:
    """Return a constant's value; a block filled with one value is a scalar."""
    found = re.search(r"value = (?:dense<(.*?)>(?= :)|([^\s,]+))", properties)
    assert found is not None, properties
    text = found.group(1) if found.group(1) is not None else found.group(2)
    if text.startswith('"'):
        bits = np.frombuffer(bytes.fromhex(text.strip('"')[2:]), numbers.stored(kind.element))
        return numbers.decode(bits, kind.element).reshape(kind.shape or ())
    if text.startswith("["):
        values = [_number(part, kind.element) for part in re.findall(r"[^\[\],\s]+", text)]
        return np.array(values, numbers.held(kind.element)).reshape(kind.shape or ())
    return _number(text, kind.element)


def _number(text: str, element: str) -> Any:
    wanted = numbers.held(element)
    if text in ("true", "false"):
        return np.bool_(text == "true")
    if not numbers.is_floating(element):
        return np.array(int(text, 0) & (2 ** (8 * wanted.itemsize) - 1), f"u{wanted.itemsize}").view(wanted)[()]
    if text.startswith("0x"):
        kind = numbers.stored(element)
        bits = np.array(int(text, 16), f"u{kind.itemsize}").view(kind)
        return numbers.decode(bits, element)[()]
    return wanted.type(float(text))
