"""Match the parameters of a PTX entry with the arguments of its launch, as the build recorded them."""

from __future__ import annotations

import math
import re

from kopt.estimate.instructions import PtxProgram
from kopt.model.build import Launch
from kopt.model.problem import DTYPE_BYTES

_TENSOR = re.compile(r"^(\w+)\[([\d, ]*)\]$")
_DESCRIPTOR = re.compile(r"^tensordesc<(\w+)\[")
_DESCRIBED = re.compile(r"\[([^\]]*)\] \[([^\]]*)\] \[([^\]]*)\]$")
_TRITON_BYTES = {"i1": 1, "i8": 1, "u8": 1, "fp8e4nv": 1, "fp8e5": 1, "i16": 2, "u16": 2, "fp16": 2, "bf16": 2,
                 "i32": 4, "u32": 4, "fp32": 4, "i64": 8, "u64": 8, "fp64": 8}  # fmt: skip


def scalar_values(program: PtxProgram, launch: Launch) -> dict[int, int]:
    """Return the recorded values of integer arguments by index of their PTX parameter."""
    values = dict(launch.arguments) | _descriptor_sizes(launch)
    return {
        index: int(values[name])
        for index, name in arguments_by_parameter(program, launch)
        if name in values and values[name].lstrip("-").isdigit()
    }


def tensor_sizes(program: PtxProgram, launch: Launch) -> dict[int, int]:
    """Return the sizes in bytes of tensor arguments with recorded shapes, by index of their PTX parameter."""
    sizes = tensor_bytes(launch)
    return {index: sizes[name] for index, name in arguments_by_parameter(program, launch) if name in sizes}


def descriptors(program: PtxProgram, launch: Launch) -> dict[int, tuple[tuple[int, ...], tuple[int, ...]]]:
    """Return strides in bytes and box of tensor descriptors by index of their PTX parameter.

    Dimensions begin with the one of adjacent elements.
    """
    kinds, pointers = dict(launch.signature), dict(launch.pointers)
    found = {}
    for index, name in arguments_by_parameter(program, launch):
        match = _DESCRIPTOR.match(kinds.get(name, ""))
        described = _DESCRIBED.search(pointers.get(name, ""))
        if match and described:
            _, strides, box = (numbers(part) for part in described.groups())
            size = _TRITON_BYTES.get(match[1], 2)
            found[index] = (tuple(stride * size for stride in reversed(strides)), tuple(reversed(box)))
    return found


def _descriptor_sizes(launch: Launch) -> dict[str, str]:
    """Return the values of the parameters that follow a descriptor: its shape and strides."""
    values: dict[str, str] = {}
    for name, text in launch.pointers:
        if described := _DESCRIBED.search(text):
            shape, strides, _ = (numbers(part) for part in described.groups())
            values |= {f"{name}.shape.{at}": str(size) for at, size in enumerate(shape)}
            values |= {f"{name}.stride.{at}": str(stride) for at, stride in enumerate(strides)}
    return values


def numbers(text: str) -> list[int]:
    """Parse integers between commas, as of a shape."""
    return [int(part) for part in text.split(",") if part.strip()]


def tensor_bytes(launch: Launch) -> dict[str, int]:
    """Return the sizes in bytes of tensor arguments with recorded shapes, by argument name."""
    sizes: dict[str, int] = {}
    for name, text in launch.arguments:
        match = _TENSOR.match(text)
        if match and match[1] in DTYPE_BYTES:
            shape = [int(part) for part in match[2].split(",") if part.strip()]
            sizes[name] = math.prod(shape) * DTYPE_BYTES[match[1]]
    return sizes


def arguments_by_parameter(program: PtxProgram, launch: Launch) -> list[tuple[int, str]]:
    """Pair the index of each PTX parameter with its argument's name; nothing where they cannot be matched.

    Compile-time arguments, and those that the JIT specialised as equal to 1, have no parameter.  A tensor descriptor is
    followed by its shape and strides: `x.shape.0`, `x.stride.0`.
    """
    constants, values = dict(launch.constants), dict(launch.arguments)
    described = {name: len(numbers(match[1])) for name, text in launch.pointers
                 if (match := _DESCRIBED.search(text))}  # fmt: skip
    names = []
    for name, kind in launch.signature:
        if kind != "constexpr" and name not in constants:
            sizes = range(described.get(name, 0)) if kind.startswith("tensordesc") else ()
            names += [name, *(f"{name}.shape.{at}" for at in sizes), *(f"{name}.stride.{at}" for at in sizes)]
    if len(names) > len(program.parameters) - 2:
        names = [name for name in names if values.get(name) != "1"]
    return list(enumerate(names)) if len(names) <= len(program.parameters) else []
