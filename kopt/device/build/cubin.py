"""Read registers and local memory of a kernel from its cubin, an ELF file, without a tool.

NVIDIA does not document `.nv.info`; the layout (format byte, attribute byte, size, then pairs of symbol and value) and
the attribute numbers are those that `cuobjdump -elf` prints, and a test compares with `cuobjdump`.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from io import BytesIO

from elftools.elf.elffile import ELFFile

_SIZED = 0x04
"""Format of an attribute whose last two bytes are a size and which is followed by that many bytes."""
_FRAME_SIZE, _REGISTERS = 0x11, 0x2F


@dataclass(frozen=True)
class Resources:
    """Resources of one thread of a kernel."""

    registers: int
    """Number of 32-bit registers."""
    local_bytes: int
    """Bytes of the stack frame, spills included."""


def resources(cubin: bytes, kernel: str) -> Resources:
    """Return the resources of the kernel with this (linker) name.

    Raises:
        KeyError: the cubin holds no such kernel.
    """
    elf = ELFFile(BytesIO(cubin))
    symbols = elf.get_section_by_name(".symtab")
    info = elf.get_section_by_name(".nv.info")
    if symbols is None or info is None:
        raise KeyError(kernel)
    values = {
        (attribute, symbols.get_symbol(symbol).name): value for attribute, symbol, value in _attributes(info.data())
    }
    return Resources(values[_REGISTERS, kernel], values.get((_FRAME_SIZE, kernel), 0))


def _attributes(data: bytes) -> Iterator[tuple[int, int, int]]:
    """Yield (attribute, symbol index, value) of those attributes that are pairs of symbol and value."""
    position = 0
    while position + 4 <= len(data):
        form, attribute, size = struct.unpack_from("<BBH", data, position)
        position += 4
        if form != _SIZED:
            continue
        if size == 8:
            symbol, value = struct.unpack_from("<II", data, position)
            yield attribute, symbol, value
        position += size
