"""Write a Python expression that computes with NumPy what one operation of TTIR computes.

An expression names the operands' Python variables, constants, and the modules in `NAMES`.  `Any` stands for numbers and
arrays.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Sequence
from typing import Any

import numpy as np

from kopt.device.interpret import device_library, memory, numbers, operations, products
from kopt.device.interpret.session import Unsupported
from kopt.device.interpret.ttir import Operation, Type

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

_INTEGER_COMPARISONS = ("==", "!=", "<", "<=", ">", ">=")
_UNSIGNED_COMPARISONS = ("np.less", "np.less_equal", "np.greater", "np.greater_equal")


class Scope:
    """What the expressions of one function can name: its values, and constants."""

    def __init__(self, constants: dict[str, Any], used: Collection[str]) -> None:
        """Take the translated module's namespace, to add constants to, and the values that are operands."""
        self._constants, self._used = constants, used
        self._names: dict[str, str] = {}
        self.line = 0
        """Line of the kernel's file that the present operation comes from."""

    def name(self, value: str) -> str:
        """Return the Python variable of a value."""
        if value not in self._names:
            self._names[value] = f"v{len(self._names)}"
        return self._names[value]

    def names(self, values: Sequence[str]) -> list[str]:
        """Return the Python variables of values."""
        return [self.name(value) for value in values]

    def constant(self, value: Any) -> str:
        """Return the name of a new constant."""
        name = f"c{len(self._constants)}"
        self._constants[name] = value
        return name

    def uses(self, values: Sequence[str]) -> bool:
        """Return whether an operation of the function has any of the values as an operand."""
        return any(value in self._used for value in values)


def check(condition: Any, message: str) -> None:
    """Check an assertion or assumption of the kernel.

    Raises:
        AssertionError: it does not hold.
    """
    if not np.all(condition):
        raise AssertionError(message)


def expression(scope: Scope, operation: Operation) -> str:
    """Return the Python expression of an operation.

    Raises:
        Unsupported: the interpreter does not know the operation, or not with such operands.
    """
    operands = scope.names(operation.operands)
    element = operation.result_types[0].element if operation.result_types else ""
    source = operation.operand_types[0] if operation.operand_types else Type("")
    name = operation.name
    if element == "i1" and name in ("arith.addi", "arith.subi"):
        return f"{operands[0]} ^ {operands[1]}"
    if element == "i1" and name == "arith.muli":
        return f"{operands[0]} & {operands[1]}"
    if name in _SIMPLE:
        text = _SIMPLE[name].format(*operands)
        narrow = element == "bf16" or element in numbers.EIGHT_BITS
        if narrow and name not in ("tt.splat", "tt.unsplat", "tt.broadcast", "arith.select", "arith.negf"):
            return f"n.rounded({text}, {element!r})"
        return text
    if name in _EXPRESSIONS:
        return _EXPRESSIONS[name](scope, operation, operands, source, element)
    raise Unsupported(f"the interpreter has no operation {name} (line {scope.line})")


def _constant_value(scope: Scope, operation: Operation, *_: Any) -> str:
    return scope.constant(_constant_of(operation.properties, operation.result_types[0]))


def _comparison(scope: Scope, operation: Operation, operands: list[str], *_: Any) -> str:
    predicate = operation.integer("predicate")
    if operation.name == "arith.cmpf":
        return f"{scope.constant(operations.COMPARISONS[predicate])}({', '.join(operands)})"
    if predicate < 6:
        return f"{operands[0]} {_INTEGER_COMPARISONS[predicate]} {operands[1]}"
    return f"o.compare_unsigned({_UNSIGNED_COMPARISONS[predicate - 6]}, {', '.join(operands)})"


def _address(scope: Scope, operation: Operation, operands: list[str], source: Type, element: str) -> str:
    return f"{operands[0]} + {operands[1]} * {scope.constant(np.int64(numbers.stored(source.pointee).itemsize))}"


def _convert(scope: Scope, operation: Operation, operands: list[str], source: Type, element: str) -> str:
    truncate = operation.name == "tt.fp_to_fp" and "rounding = 0" in operation.properties
    truncate = truncate or "roundingmode = 2" in operation.properties
    return f"n.rounded({operands[0]}, {element!r}, {truncate})"


def _bitcast(scope: Scope, operation: Operation, operands: list[str], source: Type, element: str) -> str:
    if "ptr" in (source.element, element) or source.element == element:
        return operands[0]
    return f"n.reinterpreted({operands[0]}, {source.element!r}, {element!r})"


def _poison(scope: Scope, operation: Operation, operands: list[str], source: Type, element: str) -> str:
    return scope.constant(None if element == "descriptor" else numbers.missing(element))


def _access(scope: Scope, operation: Operation) -> str:
    pointer = operation.operand_types[0]
    observed = scope.uses(operation.results)
    order = operation.integer("sem", 4)
    volatile = "isVolatile = true" in operation.properties
    access = memory.Access(pointer.pointee, pointer.shape or (), volatile, observed, order in (2, 4), order in (3, 4))
    return scope.constant(access)


def _load(scope: Scope, operation: Operation, operands: list[str], source: Type, element: str) -> str:
    if source.element != "ptr":
        raise Unsupported(f"the interpreter has no load from {source.element} (line {scope.line})")
    return f"M.load({', '.join([_access(scope, operation), *operands])})"


def _store(scope: Scope, operation: Operation, operands: list[str], *_: Any) -> str:
    return f"M.store({', '.join([_access(scope, operation), *operands])})"


def _modify(scope: Scope, operation: Operation, operands: list[str], *_: Any) -> str:
    return f"M.modify({_access(scope, operation)}, {operation.integer('atomic_rmw_op')}, {', '.join(operands)})"


def _swap(scope: Scope, operation: Operation, operands: list[str], *_: Any) -> str:
    return f"M.compare_and_swap({', '.join([_access(scope, operation), *operands])})"


def _descriptor(scope: Scope, operation: Operation, operands: list[str], *_: Any) -> str:
    rank = (len(operands) - 1) // 2
    kind = operation.result_types[0]
    sizes, strides = operands[1 : 1 + rank], operands[1 + rank :]
    nan = "padding = 2" in operation.properties
    return (
        f"m.make_descriptor({operands[0]}, ({', '.join(sizes)},), ({', '.join(strides)},), {kind.block}, "
        f"{kind.pointee!r}, {nan})"
    )


def _on_descriptor(scope: Scope, operation: Operation, operands: list[str], *_: Any) -> str:
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


def _dot(scope: Scope, operation: Operation, operands: list[str], *_: Any) -> str:
    a, b, c = operation.operand_types
    precision = operation.integer("inputPrecision")
    shapes = scope.constant((a, b, c))
    return f"products.dot({', '.join(operands)}, {shapes}, {precision})"


def _dot_scaled(scope: Scope, operation: Operation, operands: list[str], *_: Any) -> str:
    groups = [scope.names(group) for group in operation.segments()] or [[operand] for operand in operands]
    groups += [[]] * (5 - len(groups))
    values = ", ".join(group[0] if group else "None" for group in groups)
    kinds = iter(operation.operand_types)
    types = scope.constant(tuple(next(kinds) if group else None for group in groups))
    elements = operation.integer("a_elem_type"), operation.integer("b_elem_type")
    packed = "lhs_k_pack = false" not in operation.properties, "rhs_k_pack = false" not in operation.properties
    return f"products.dot_scaled({values}, {types}, {elements}, {packed})"


def _library(scope: Scope, operation: Operation, operands: list[str], source: Type, element: str) -> str:
    symbol = operation.text("symbol")
    function = device_library.function(symbol)
    if function is None:
        raise Unsupported(f"the interpreter does not know the device library's {symbol} (line {scope.line})")
    kind = f"np.{numbers.held(element).name}"
    return f"np.asarray({scope.constant(function)}({', '.join(operands)})).astype({kind})[()]"


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


Expression = Callable[[Scope, Operation, list[str], Type, str], str]
"""Writes the expression of an operation (`o`), given the variables of its operands (`v`), the type of its first operand
(`s`, the source) and the element type of its first result (`e`)."""

_EXPRESSIONS: dict[str, Expression] = {
    "arith.constant": _constant_value,
    "ub.poison": _poison,
    "arith.cmpi": _comparison,
    "arith.cmpf": _comparison,
    "arith.extf": lambda _, o, v, s, e: v[0] if e == "f32" and s.element not in numbers.NATIVE
    else f"np.asarray({v[0]}).astype(np.{numbers.held(e).name})[()]",
    "arith.truncf": _convert,
    "tt.fp_to_fp": _convert,
    "arith.extsi": lambda _, o, v, s, e: f"o.widen({v[0]}, {e!r}, True)",
    "arith.extui": lambda _, o, v, s, e: f"o.widen({v[0]}, {e!r}, False)",
    "arith.index_cast": lambda _, o, v, s, e: f"o.widen({v[0]}, {e!r}, True)",
    "arith.trunci": lambda _, o, v, s, e: f"o.narrow({v[0]}, {e!r})",
    "arith.sitofp": lambda _, o, v, s, e: f"o.from_integer({v[0]}, {e!r}, True)",
    "arith.uitofp": lambda _, o, v, s, e: f"o.from_integer({v[0]}, {e!r}, False)",
    "arith.fptosi": lambda _, o, v, s, e: f"n.saturated({v[0]}, {e!r}, True)",
    "arith.fptoui": lambda _, o, v, s, e: f"n.saturated({v[0]}, {e!r}, False)",
    "arith.bitcast": _bitcast,
    "tt.bitcast": _bitcast,
    "tt.clampf": lambda _, o, v, s, e: f"o.clamp({', '.join(v)}, {'propagateNan = 0' not in o.properties})",
    "tt.get_program_id": lambda _, o, v, s, e: f"P[{o.integer('axis')}]",
    "tt.get_num_programs": lambda _, o, v, s, e: f"G[{o.integer('axis')}]",
    "tt.make_range": lambda scope, o, v, s, e: scope.constant(
        np.arange(o.integer("start"), o.integer("end"), dtype=np.int32)
    ),
    "tt.expand_dims": lambda _, o, v, s, e: f"o.expand_dims({v[0]}, {o.integer('axis')})",
    "tt.reshape": lambda _, o, v, s, e: f"o.whole({v[0]}, {s.shape}).reshape({o.result_types[0].shape})",
    "tt.trans": lambda _, o, v, s, e: f"np.transpose(o.whole({v[0]}, {s.shape}), {o.integers('order')})",
    "tt.cat": lambda _, o, v, s, e: f"np.concatenate([o.whole({v[0]}, {s.shape}), o.whole({v[1]}, {s.shape})])",
    "tt.join": lambda _, o, v, s, e: f"o.join({v[0]}, {v[1]}, {s.shape})",
    "tt.gather": lambda _, o, v, s, e: (
        f"o.gather({v[0]}, {s.shape}, {v[1]}, {o.operand_types[1].shape}, {o.integer('axis')})"
    ),
    "tt.histogram": lambda _, o, v, s, e: (
        f"o.histogram({v[0]}, {s.shape}, {v[1] if len(v) > 1 else None}, {(o.result_types[0].shape or (0,))[0]}, {e!r})"
    ),
    "tt.addptr": _address,
    "tt.load": _load,
    "tt.store": _store,
    "tt.atomic_rmw": _modify,
    "tt.atomic_cas": _swap,
    "tt.make_tensor_descriptor": _descriptor,
    **{
        f"tt.descriptor_{name}": _on_descriptor
        for name in ("load", "store", "reduce", "gather", "scatter")
    },
    "tt.dot": _dot,
    "tt.dot_scaled": _dot_scaled,
    "tt.extern_elementwise": _library,
    "tt.assert": lambda _, o, v, s, e: f"check({v[0]}, {o.text('message')!r})",
    "llvm.intr.assume": lambda _, o, v, s, e: f"check({v[0]}, 'the condition of tl.assume does not hold')",
}  # fmt: skip
"""Expressions of the other operations."""

NAMES: dict[str, Any] = {
    "np": np, "o": operations, "n": numbers, "m": memory, "products": products, "check": check,
}  # fmt: skip
"""What expressions name: modules and `check`."""
