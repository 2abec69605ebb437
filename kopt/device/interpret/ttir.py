"""Read a kernel's TTIR, the representation that Triton's own front end makes of it, into values.

The text is MLIR's generic form, in which all operations look alike:
`%r:2 = "name"(%a, %b)[^block] <{properties}> ({regions}) {attributes} : (types) -> (types) loc(#loc1)`, one a line.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import NamedTuple


class UnreadableTtir(Exception):
    """A line of TTIR does not have the form that this module reads."""


class Type(NamedTuple):
    """Type of a value."""

    element: str
    """Element type as MLIR writes it: `f32`, `bf16`, `i1`, `ptr`, `descriptor`, ..."""
    shape: tuple[int, ...] | None = None
    """Shape of a block; None for a scalar."""
    pointee: str = ""
    """Element type that a pointer or descriptor leads to."""
    block: tuple[int, ...] = ()
    """Shape of the blocks of a descriptor."""


@dataclass
class Operation:
    """One operation."""

    name: str
    results: list[str]
    operands: list[str]
    properties: str
    """Properties and attributes as text; see `integer`, `integers` and `text`."""
    successors: list[str]
    operand_types: list[Type] = field(default_factory=list)
    result_types: list[Type] = field(default_factory=list)
    regions: list[Region] = field(default_factory=list)
    line: int = 0
    """Line of the kernel's file; 0 where it is not known."""

    def integer(self, name: str, default: int = 0) -> int:
        """Return an integer property."""
        found = re.search(rf"\b{name} = (-?\d+)", self.properties)
        return int(found.group(1)) if found else default

    def integers(self, name: str) -> list[int]:
        """Return a property that is an array of integers."""
        found = re.search(rf"\b{name} = array<i\d+(?:: ([^>]*))?>", self.properties)
        return [int(number) for number in (found.group(1) or "").split(",") if number] if found else []

    def flag(self, name: str) -> bool:
        """Return whether a property is true, or is there without a value."""
        return bool(re.search(rf"(?:^|[ {{])({name} = true|{name}(?=[,}}]|$))", self.properties))

    def text(self, name: str) -> str:
        """Return a property that is a text in quotes."""
        found = re.search(rf'\b{name} = "((?:[^"\\]|\\.)*)"', self.properties)
        return re.sub(r"\\([0-9A-F]{2}|.)", _unescaped, found.group(1)) if found else ""

    def segments(self) -> list[list[str]]:
        """Return the operands in the groups of `operandSegmentSizes`."""
        operands = iter(self.operands)
        return [[next(operands) for _ in range(size)] for size in self.integers("operandSegmentSizes")]


@dataclass
class Block:
    """A block of operations; its arguments are set by what branches to it."""

    label: str
    arguments: list[str] = field(default_factory=list)
    types: list[Type] = field(default_factory=list)
    operations: list[Operation] = field(default_factory=list)


@dataclass
class Region:
    """The blocks of a function, a loop's body, or the like."""

    blocks: list[Block]


@dataclass
class Function:
    """A function of the module."""

    name: str
    public: bool
    body: Region


_OPERATION = re.compile(
    r'(?:(%[\w$.-]+)(?::(\d+))? = )?"([\w.]+)"\(([^)]*)\)(?:\[([^\]]*)\])?'
    r'(?: <\{((?:[^"]|"(?:[^"\\]|\\.)*")*?)\}>)?(.*)$'
)
_TAIL = re.compile(r'(?: \{((?:[^"]|"(?:[^"\\]|\\.)*")*?)\})? : \((.*?)\) -> (.*?)(?: loc\((.*)\))?$')
_ARGUMENT = re.compile(r"(%[\w$.-]+): ")
_LOCATION = re.compile(r"^(#loc\d*) = loc\((.*)\)$", re.MULTILINE)


def read(text: str, file: str = "") -> dict[str, Function]:
    """Return the functions of a module, by name; lines are those of `file`.

    Raises:
        UnreadableTtir: the text has another form.
    """
    locations = _Locations(dict(_LOCATION.findall(text)), file)
    lines = (line.strip() for line in text.splitlines())
    body = (line for line in lines if line and not line.startswith(("#", "//", "{-#")))
    first = next(body, "")
    if not first.startswith('"builtin.module"'):
        raise UnreadableTtir(first[:200])
    (region,), _ = _regions(body, locations)
    functions = {}
    for operation in region.blocks[0].operations:
        name = operation.text("sym_name")
        functions[name] = Function(name, operation.text("sym_visibility") != "private", operation.regions[0])
    return functions


def _regions(lines: Iterator[str], locations: _Locations) -> tuple[list[Region], str]:
    """Read regions up to the line that closes them; return them and the rest of this line."""
    regions = [Region([Block("")])]
    for line in lines:
        if line.startswith("^"):
            regions[-1].blocks.append(_block(line))
        elif line.startswith("})"):
            for region in regions:
                region.blocks = [block for block in region.blocks if block.operations]
            return regions, line[2:]
        elif line == "}, {":
            regions.append(Region([Block("")]))
        else:
            regions[-1].blocks[-1].operations.append(_operation(line, lines, locations))
    raise UnreadableTtir("the module is not closed")


def _block(line: str) -> Block:
    label = re.match(r"\^[\w.]+", line)
    assert label is not None
    block = Block(label.group(0))
    pieces = _ARGUMENT.split(line)[1:]
    for name, rest in zip(pieces[::2], pieces[1::2], strict=True):
        block.arguments.append(name)
        block.types.append(type_of(re.split(r" loc\(|, $|\):", rest)[0]))
    return block


def _operation(line: str, lines: Iterator[str], locations: _Locations) -> Operation:
    found = _OPERATION.match(line)
    if found is None:
        raise UnreadableTtir(line[:200])
    result, count, name, operands, successors, properties, rest = found.groups()
    results = [] if result is None else [result] if count is None else [f"{result}#{i}" for i in range(int(count))]
    regions: list[Region] = []
    if rest.startswith(" ({"):
        regions, rest = _regions(lines, locations)
    tail = _TAIL.match(rest)
    if tail is None:
        raise UnreadableTtir(line[:200])
    attributes, types, result_types, location = tail.groups()
    if result_types.startswith("("):
        result_types = result_types[1:-1]
    return Operation(
        name,
        results,
        operands.split(", ") if operands else [],
        ", ".join(filter(None, (properties, attributes))),
        successors.split(", ") if successors else [],
        [type_of(text) for text in _split(types)],
        [type_of(text) for text in _split(result_types)],
        regions,
        locations.line(location or ""),
    )


def _split(text: str) -> Iterator[str]:
    """Yield the parts of a text between commas outside angle brackets."""
    if "<" not in text:
        yield from (part for part in text.split(", ") if part)
        return
    depth = start = 0
    for at, character in enumerate(text):
        depth += (character == "<") - (character == ">")
        if character == "," and depth == 0:
            yield text[start:at].strip()
            start = at + 1
    yield text[start:].strip()


@cache
def type_of(text: str) -> Type:
    """Read a type.

    Raises:
        UnreadableTtir: the type is none that kernels have.
    """
    if text.startswith("tensor<"):
        *sizes, element = re.findall(r"(\d+)x|(.+)$", text[7:-1].split(", #")[0])
        inner = type_of(element[1])
        return Type(inner.element, tuple(int(size) for size, _ in sizes), inner.pointee)
    if text.startswith("!tt.ptr<"):
        return Type("ptr", None, text[8:-1].split(",")[0])
    if text.startswith("!tt.tensordesc<"):
        inner = type_of(text[15:-1] if text[15:].startswith("tensor<") else f"tensor<{text[15:-1]}>")
        return Type("descriptor", None, inner.element, inner.shape or ())
    if re.fullmatch(r"[iu]\d+|si\d+|ui\d+|index|bf16|tf32|f\w+", text):
        return Type("i64" if text == "index" else re.sub(r"^[su]i", "i", text))
    raise UnreadableTtir(f"type {text}")


class _Locations:
    """The lines in one file to which the locations of a module lead."""

    def __init__(self, table: Mapping[str, str], file: str) -> None:
        self._table, self._file = table, file
        self._lines: dict[str, int] = {}

    def line(self, text: str) -> int:
        """Return the innermost line of the file that a location names; 0 for none."""
        if text not in self._lines:
            self._lines[text] = next((int(number) for name, number in self._places(text) if name == self._file), 0)
        return self._lines[text]

    def _places(self, text: str) -> Iterator[tuple[str, str]]:
        for reference, name, number in re.findall(r'(#loc\d*)|"([^"]*)":(\d+)', text):
            if reference:
                yield from self._places(self._table.get(reference, ""))
            else:
                yield name, number


def _unescaped(escape: re.Match[str]) -> str:
    code = escape.group(1)
    return chr(int(code, 16)) if len(code) == 2 else code
