"""Run inline assembly: the pure instructions of PTX, on the bits of whole blocks at once.

A register is an array of unsigned 64-bit numbers, one for each run of the assembly.  What has no meaning for a program
that runs alone (memory, clocks, threads) is refused by the name of its instruction.  `Any` stands for arrays.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from kopt.device.interpret import numbers, operations
from kopt.device.interpret.device_library import FUNCTIONS, permuted_bytes
from kopt.device.interpret.session import Unsupported

_U64 = np.uint64
_NOTHING = ("griddepcontrol", "fence", "membar", "nanosleep", "discard", "prefetch", "pragma")
_FLOATS = {"f16": "f16", "bf16": "bf16", "f32": "f32", "f64": "f64", "e4m3": "f8E4M3FN", "e5m2": "f8E5M2"}


@dataclass(frozen=True)
class _Instruction:
    guard: str
    """Predicate that must hold; empty for none, with `!` before it for one that must not."""
    name: str
    parts: tuple[str, ...]
    """The opcode's parts after the first: roundings and types."""
    operands: tuple[str, ...]


@dataclass(frozen=True)
class Assembly:
    """A text of inline assembly."""

    instructions: tuple[_Instruction, ...]
    outputs: int
    """Number of output registers; they come first."""
    tied: tuple[tuple[int, int], ...]
    """Pairs of an input and the output whose register it shares."""

    def __call__(
        self,
        *values: Any,
        pack: int,
        elements: Sequence[str],
        results: Sequence[str],
        shape: Sequence[int] | None,
    ) -> tuple[Any, ...]:
        """Return the results for operands of these element types, `pack` elements at a time."""
        whole = tuple(shape or ())
        size = int(np.prod(whole))
        runs = -(-size // pack)
        registers: dict[str, Any] = {}
        number = self.outputs
        for value, element in zip(values, elements, strict=True):
            for register in _packed(value, element, whole, runs, pack):
                registers[f"${number}"] = register
                number += 1
        for source, target in self.tied:
            registers[f"${target}"] = registers[f"${source}"]
        machine = _Machine(registers, runs)
        for instruction in self.instructions:
            machine.run(instruction)
        made, number = [], 0
        for element in results:
            count = _register_count(element, pack)
            wanted = [registers.get(f"${number + at}", np.zeros(runs, _U64)) for at in range(count)]
            made.append(_unpacked(wanted, element, whole, size, pack))
            number += count
        return tuple(made)


def read(text: str, constraints: str) -> Assembly:
    """Read a text of inline assembly and its constraints.

    Raises:
        Unsupported: an instruction cannot be run here.
    """
    kinds = [constraint.strip() for constraint in constraints.split(",") if constraint.strip()]
    outputs = sum(kind.startswith("=") for kind in kinds)
    tied = tuple((at, int(kind)) for at, kind in enumerate(kinds) if kind.isdigit())
    text = re.sub(r"//[^\n]*|/\*.*?\*/", " ", text, flags=re.DOTALL)
    text = re.sub(r"(?m)^\s*\{|\}\s*$|^\{|\}$", " ", re.sub(r"^\s*\{|\}\s*;?\s*$", " ", text))
    instructions = []
    for statement in re.split(r";", text):
        statement = statement.strip().strip("\n\t ")
        statement = re.sub(r"^\{(?![^}]*\})", "", statement).strip()
        statement = statement.removeprefix("}").strip()
        if not statement or statement.startswith((".reg", ".pragma")):
            continue
        instruction = _instruction(statement)
        if instruction.name not in _NOTHING:
            if instruction.name not in _INSTRUCTIONS:
                raise Unsupported(f"the interpreter does not know the instruction {statement.split()[0]}")
            instructions.append(instruction)
    return Assembly(tuple(instructions), outputs, tied)


def _instruction(statement: str) -> _Instruction:
    guard = ""
    found = re.match(r"@(!?)\s*(\S+)\s+(.*)$", statement, re.DOTALL)
    if found is not None:
        guard, statement = found.group(1) + found.group(2), found.group(3)
    opcode, _, rest = statement.partition(" ") if " " in statement else statement.partition("\t")
    operands = [part.strip() for part in re.findall(r"\{[^}]*\}|[^,]+", rest) if part.strip()]
    name, *parts = opcode.strip().split(".")
    return _Instruction(guard, name, tuple(parts), tuple(operands))


# --- packing ----------------------------------------------------------------------------------------------------------


def _bits(element: str) -> int:
    return 64 if element == "ptr" else 8 * numbers.stored(element).itemsize


def _per_register(element: str, pack: int) -> int:
    bits = _bits(element)
    return max(1, min(pack, 32 // bits)) if bits < 32 else 1


def _register_count(element: str, pack: int) -> int:
    return -(-pack // _per_register(element, pack))


def _packed(value: Any, element: str, shape: tuple[int, ...], runs: int, pack: int) -> list[Any]:
    """Return the registers of an operand: neighbouring narrow elements share one."""
    values = operations.whole(value, shape).reshape(-1)
    raw = numbers.unsigned(numbers.encode(values, element)).astype(_U64)
    padded = np.resize(raw, runs * pack).reshape(runs, pack)
    share, bits = _per_register(element, pack), _bits(element)
    registers = []
    for start in range(0, pack, share):
        register = np.zeros(runs, _U64)
        for at in range(min(share, pack - start)):
            register |= padded[:, start + at] << _U64(at * bits)
        registers.append(register)
    return registers


def _unpacked(registers: Sequence[Any], element: str, shape: tuple[int, ...], size: int, pack: int) -> Any:
    share, bits = _per_register(element, pack), _bits(element)
    columns = []
    for at in range(pack):
        register = np.broadcast_to(registers[at // share], (registers[0].size,))
        columns.append(register >> _U64(at % share * bits))
    raw = np.stack(columns, axis=1).reshape(-1)[:size]
    values = _value(raw, element)
    return values.reshape(shape) if shape else values[0]


def _value(raw: Any, element: str) -> Any:
    """Return the values of an element type whose bits are the low bits of registers."""
    if element == "i1":
        return (raw & _U64(1)).astype(np.bool_)
    kind = numbers.stored(element)
    return numbers.decode(raw.astype(f"u{kind.itemsize}").view(kind), element)


def _raw(values: Any, element: str) -> Any:
    """Return registers whose low bits are the bits of values."""
    return numbers.unsigned(numbers.encode(np.asarray(values), element)).astype(_U64)


# --- running ----------------------------------------------------------------------------------------------------------


@dataclass
class _Machine:
    registers: dict[str, Any]
    runs: int
    guard: Any = field(default=None)

    def run(self, instruction: _Instruction) -> None:
        """Run one instruction."""
        self.guard = None
        if instruction.guard:
            self.guard = self.read(instruction.guard.removeprefix("!")) != 0
            if instruction.guard.startswith("!"):
                self.guard = ~self.guard
        _INSTRUCTIONS[instruction.name](self, instruction)

    def read(self, operand: str) -> Any:
        """Return the bits of an operand: a register, a number, or registers joined in braces."""
        if operand.startswith("{"):
            parts = [part.strip() for part in operand.strip("{}").split(",")]
            width = 64 // len(parts) if any(self._wide(part) for part in parts) else 32 // len(parts)
            joined = np.zeros(self.runs, _U64)
            for at, part in enumerate(parts):
                joined |= (self.read(part) & _U64((1 << width) - 1)) << _U64(at * width)
            return joined
        if operand in self.registers:
            return self.registers[operand]
        if re.fullmatch(r"-?(0[xX][0-9a-fA-F]+|\d+)U?", operand):
            return np.full(self.runs, int(operand.rstrip("U"), 0) & 0xFFFFFFFFFFFFFFFF, _U64)
        if re.fullmatch(r"0[fF][0-9a-fA-F]{8}|0[dD][0-9a-fA-F]{16}", operand):
            return np.full(self.runs, int(operand[2:], 16), _U64)
        if re.fullmatch(r"-?\d+\.\d*(e-?\d+)?", operand):
            return _raw(np.full(self.runs, float(operand), np.float32), "f32")
        if operand.startswith("%") or operand.startswith("["):
            raise Unsupported(f"the interpreter cannot read {operand} in inline assembly")
        return np.zeros(self.runs, _U64)

    def _wide(self, register: str) -> bool:
        return register in self.registers and bool((self.registers[register] >> _U64(16) != 0).any())

    def write(self, operand: str, bits: Any, width: int = 64) -> None:
        """Set an operand's bits, where the guard holds."""
        bits = np.broadcast_to(bits, (self.runs,)) & _U64(0xFFFFFFFFFFFFFFFF if width >= 64 else (1 << width) - 1)
        if operand.startswith("{"):
            parts = [part.strip() for part in operand.strip("{}").split(",")]
            share = width // len(parts)
            for at, part in enumerate(parts):
                self.write(part, bits >> _U64(at * share), share)
            return
        if self.guard is not None:
            bits = np.where(self.guard, bits, self.read(operand))
        self.registers[operand] = bits


def _unknown(instruction: _Instruction) -> Unsupported:
    opcode = ".".join((instruction.name, *instruction.parts))
    return Unsupported(f"the interpreter does not know the instruction {opcode}")


def _type(instruction: _Instruction) -> str:
    """Return the last type among the parts of an opcode."""
    types = [part for part in instruction.parts if re.fullmatch(r"[usb]\d+|b?f16x2|b?f\d+|pred|e\dm\dx?2?", part)]
    if not types:
        raise Unsupported(
            f"the interpreter does not know the instruction {'.'.join((instruction.name, *instruction.parts))}"
        )
    return types[-1]


def _element(kind: str) -> str:
    return _FLOATS.get(kind, "i1" if kind == "pred" else f"i{kind[1:]}")


def _width(kind: str) -> int:
    if kind.endswith("x2"):
        return 2 * _width(kind[:-2])
    return 1 if kind == "pred" else 8 if kind in ("e4m3", "e5m2") else int(re.sub(r"\D", "", kind))


def _typed(kind: str, bits: Any) -> Any:
    """Return bits as values: floats, signed or unsigned integers, or pairs of halves in a last dimension."""
    if kind.endswith("x2"):
        half = _width(kind[:-2])
        return np.stack([_typed(kind[:-2], bits), _typed(kind[:-2], bits >> _U64(half))], axis=-1)
    values = _value(bits, _element(kind))
    return numbers.unsigned(values) if kind[0] in "ub" and kind not in _FLOATS and kind != "pred" else values


def _untyped(kind: str, values: Any) -> Any:
    if kind.endswith("x2"):
        half = _width(kind[:-2])
        low, high = _untyped(kind[:-2], values[..., 0]), _untyped(kind[:-2], values[..., 1])
        return (low & _U64((1 << half) - 1)) | (high << _U64(half))
    element = _element(kind)
    if kind in _FLOATS:
        return _raw(numbers.rounded(values, element), element)
    if kind == "pred":
        return np.asarray(values).astype(_U64)
    return np.asarray(values).astype(f"u{max(1, _width(kind) // 8)}").astype(_U64)


Run = Callable[[_Machine, _Instruction], None]


def _computed(function: Callable[..., Any]) -> Run:
    """Have an instruction computed by a function of values of its type."""

    def run(machine: _Machine, instruction: _Instruction) -> None:
        kind = _type(instruction)
        values = [_typed(kind, machine.read(operand)) for operand in instruction.operands[1:]]
        result = function(*values)
        if "sat" in instruction.parts:
            result = np.nan_to_num(np.clip(result, 0, 1))
        if "relu" in instruction.parts:
            result = np.maximum(result, 0)
        machine.write(instruction.operands[0], _untyped(kind, result), _width(kind))

    return run


def _move(machine: _Machine, instruction: _Instruction) -> None:
    machine.write(instruction.operands[0], machine.read(instruction.operands[1]), _width(_type(instruction)))


def _multiply(machine: _Machine, instruction: _Instruction) -> None:
    kind = _type(instruction)
    values = [_typed(kind, machine.read(operand)) for operand in instruction.operands[1:3]]
    addend = instruction.operands[3:]
    if kind[0] in "us" and ("wide" in instruction.parts or "hi" in instruction.parts):
        wide = [value.astype("u8" if kind[0] == "u" else "i8") for value in values]
        product = wide[0] * wide[1]
        width = _width(kind)
        if "hi" in instruction.parts:
            product = product >> product.dtype.type(width)
        else:
            width *= 2
        target = f"{kind[0]}{width}"
    else:
        product, target = values[0] * values[1], kind
    if addend and kind[0] in "us":
        product = product + _typed(target, machine.read(addend[0])).astype(product.dtype)
    elif addend:
        product = operations.fused(values[0], values[1], _typed(target, machine.read(addend[0])))
    if "relu" in instruction.parts:
        product = np.maximum(product, 0)
    machine.write(instruction.operands[0], _untyped(target, product), _width(target))


def _divide(a: Any, b: Any) -> Any:
    if np.issubdtype(a.dtype, np.floating):
        return a / b
    return operations.divide(a, b) if a.dtype.kind == "i" else np.floor_divide(a, np.maximum(b, 1))


def _shift(machine: _Machine, instruction: _Instruction) -> None:
    kind = _type(instruction)
    value = _typed(kind, machine.read(instruction.operands[1]))
    places = machine.read(instruction.operands[2]) & _U64(0xFFFFFFFF)
    width = _width(kind)
    near = np.minimum(places, _U64(width - 1)).astype(value.dtype)
    if instruction.name == "shl":
        result = np.where(places >= width, 0, value << near)
    else:
        result = value >> near if kind[0] == "s" else np.where(places >= width, 0, value >> near)
    machine.write(instruction.operands[0], _untyped(kind, result), width)


def _funnel(machine: _Machine, instruction: _Instruction) -> None:
    low, high, places = (machine.read(operand) & _U64(0xFFFFFFFF) for operand in instruction.operands[1:])
    places = places & _U64(31) if "wrap" in instruction.parts else np.minimum(places, _U64(32))
    both = high << _U64(32) | low
    result = (both << places) >> _U64(32) if "l" in instruction.parts else both >> places
    machine.write(instruction.operands[0], result, 32)


def _lookup(machine: _Machine, instruction: _Instruction) -> None:
    a, b, c = (machine.read(operand) for operand in instruction.operands[1:4])
    table = int(instruction.operands[4], 0)
    result = np.zeros(machine.runs, _U64)
    for row in range(8):
        if table >> row & 1:
            result |= (a if row & 4 else ~a) & (b if row & 2 else ~b) & (c if row & 1 else ~c)
    machine.write(instruction.operands[0], result, 32)


def _permute(machine: _Machine, instruction: _Instruction) -> None:
    if len(instruction.parts) > 1:
        raise _unknown(instruction)
    a, b, selector = (machine.read(operand).astype(np.uint32).view(np.int32) for operand in instruction.operands[1:])
    machine.write(instruction.operands[0], numbers.unsigned(permuted_bytes(a, b, selector)).astype(_U64), 32)


def _extract(machine: _Machine, instruction: _Instruction) -> None:
    kind = _type(instruction)
    value, start, length = (machine.read(operand) for operand in instruction.operands[1:])
    start, length = start & _U64(255), length & _U64(255)
    mask = (_U64(1) << np.minimum(length, _U64(63))) - _U64(1)
    field_ = (value >> start) & mask
    if kind[0] == "s":
        sign = np.where(length > 0, (field_ >> (np.maximum(length, _U64(1)) - _U64(1))) & _U64(1), 0)
        field_ = np.where(sign == 1, field_ | ~mask, field_)
    machine.write(instruction.operands[0], field_, _width(kind))


def _insert(machine: _Machine, instruction: _Instruction) -> None:
    value, base, start, length = (machine.read(operand) for operand in instruction.operands[1:])
    mask = ((_U64(1) << (length & _U64(255))) - _U64(1)) << (start & _U64(255))
    result = (base & ~mask) | ((value << (start & _U64(255))) & mask)
    machine.write(instruction.operands[0], result, _width(_type(instruction)))


_COMPARE: dict[str, Callable[[Any, Any], Any]] = {
    "eq": np.equal, "ne": np.not_equal, "lt": np.less, "le": np.less_equal, "gt": np.greater, "ge": np.greater_equal,
    "lo": np.less, "ls": np.less_equal, "hi": np.greater, "hs": np.greater_equal,
    "neu": np.not_equal, "nan": lambda a, b: (a != a) | (b != b), "num": lambda a, b: (a == a) & (b == b),
    "ltu": lambda a, b: ~(a >= b), "leu": lambda a, b: ~(a > b), "gtu": lambda a, b: ~(a <= b),
    "geu": lambda a, b: ~(a < b), "equ": lambda a, b: ~((a < b) | (a > b)),
}  # fmt: skip


def _set_predicate(machine: _Machine, instruction: _Instruction) -> None:
    kind = _type(instruction)
    a, b = (_typed(kind, machine.read(operand)) for operand in instruction.operands[1:3])
    holds = _COMPARE[instruction.parts[0]](a, b)
    if len(instruction.operands) > 3:
        other = machine.read(instruction.operands[3].removeprefix("!")) != 0
        other = ~other if instruction.operands[3].startswith("!") else other
        holds = {"and": holds & other, "or": holds | other, "xor": holds ^ other}[instruction.parts[1]]
    first, _, second = instruction.operands[0].partition("|")
    machine.write(first, holds.astype(_U64))
    if second:
        machine.write(second, (~holds).astype(_U64))


def _select(machine: _Machine, instruction: _Instruction) -> None:
    a, b, predicate = (machine.read(operand) for operand in instruction.operands[1:])
    machine.write(instruction.operands[0], np.where(predicate != 0, a, b), _width(_type(instruction)))


def _convert(machine: _Machine, instruction: _Instruction) -> None:
    types = [part for part in instruction.parts if re.fullmatch(r"[usb]\d+|b?f16x2|b?f\d+|e\dm\dx2|tf32", part)]
    if len(types) != 2:
        raise _unknown(instruction)
    target, source = types
    truncate = "rz" in instruction.parts or "rzi" in instruction.parts
    if target.endswith("x2") and not source.endswith("x2"):
        high, low = (_typed(source, machine.read(operand)) for operand in instruction.operands[1:3])
        values = np.stack([low, high], axis=-1)
    else:
        values = _typed(source, machine.read(instruction.operands[1]))
    if "relu" in instruction.parts:
        values = np.maximum(values, 0)
    single = target.removesuffix("x2")
    if target == "tf32":
        target = "b32"
        result = numbers.to_tf32(values).view(np.uint32)
    elif single in _FLOATS:
        values = values.astype(np.float64) if values.dtype.kind in "iu" and single == "f64" else values
        if values.dtype.kind == "f" and source == target:
            values = _in_whole(values, instruction.parts)
        values = np.nan_to_num(np.clip(values, 0, 1)) if "sat" in instruction.parts else values
        result = numbers.rounded(values, _FLOATS[single], truncate)
    elif values.dtype.kind == "f":
        result = numbers.saturated(_in_whole(values, instruction.parts), _element(target), target[0] == "s")
    elif "sat" in instruction.parts:
        limits = np.iinfo(f"{'i' if target[0] == 's' else 'u'}{_width(target) // 8}")
        result = np.clip(values.astype(np.int64), limits.min, limits.max)
    else:
        result = values.astype(np.int64)
    machine.write(
        instruction.operands[0],
        _untyped(target, result),
        max(32, _width(target)) if target[0] in "us" else _width(target),
    )


def _in_whole(values: Any, parts: Sequence[str]) -> Any:
    for part, function in (("rni", np.rint), ("rmi", np.floor), ("rpi", np.ceil), ("rzi", np.trunc)):
        if part in parts:
            return function(values)
    return values


def _dot_bytes(machine: _Machine, instruction: _Instruction) -> None:
    left, right = instruction.parts[0], instruction.parts[1]
    a, b, total = (machine.read(operand) for operand in instruction.operands[1:])
    result = total.astype(np.uint32).view(np.int32).astype(np.int64)
    for at in range(4):
        shift = _U64(8 * at)
        result = result + _typed(f"{left[0]}8", a >> shift).astype(np.int64) * _typed(f"{right[0]}8", b >> shift)
    machine.write(instruction.operands[0], result.view(_U64), 32)


_INSTRUCTIONS: dict[str, Run] = {
    "mov": _move, "add": _computed(lambda a, b: a + b), "sub": _computed(lambda a, b: a - b), "mul": _multiply,
    "mad": _multiply, "fma": _multiply, "div": _computed(_divide),
    "rem": _computed(lambda a, b: operations.remainder(a, b) if a.dtype.kind == "i" else a % np.maximum(b, 1)),
    "min": _computed(lambda a, b: np.fmin(a, b)), "max": _computed(lambda a, b: np.fmax(a, b)),
    "abs": _computed(np.abs), "neg": _computed(np.negative),
    "and": _computed(np.bitwise_and), "or": _computed(np.bitwise_or), "xor": _computed(np.bitwise_xor),
    "not": _computed(np.invert), "shl": _shift, "shr": _shift, "shf": _funnel, "lop3": _lookup, "prmt": _permute,
    "bfe": _extract, "bfi": _insert, "popc": _computed(lambda x: np.bitwise_count(x)),
    "clz": _computed(FUNCTIONS["clz"]), "brev": _computed(FUNCTIONS["brev"]),
    "ex2": _computed(np.exp2), "lg2": _computed(np.log2), "rcp": _computed(lambda x: 1 / x),
    "sqrt": _computed(np.sqrt), "rsqrt": _computed(lambda x: 1 / np.sqrt(x)), "sin": _computed(np.sin),
    "cos": _computed(np.cos), "tanh": _computed(np.tanh), "copysign": _computed(lambda a, b: np.copysign(b, a)),
    "setp": _set_predicate, "selp": _select, "cvt": _convert, "dp4a": _dot_bytes,
}  # fmt: skip
"""How instructions are run, by name."""
