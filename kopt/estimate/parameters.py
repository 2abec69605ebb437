"""Match the parameters of a PTX entry with the arguments of its launch, as the build recorded them."""

from __future__ import annotations

import math
import re

from kopt.estimate.instructions import PtxProgram
from kopt.model.build import Launch
from kopt.model.problem import DTYPE_BYTES

_TENSOR = re.compile(r"^(\w+)\[([\d, ]*)\]$")


def scalar_values(program: PtxProgram, launch: Launch) -> dict[int, int]:
    """Return the recorded values of integer arguments by index of their PTX parameter."""
    values = dict(launch.arguments)
    return {
        index: int(values[name])
        for index, name in _arguments_by_parameter(program, launch)
        if name in values and values[name].lstrip("-").isdigit()
    }


def tensor_sizes(program: PtxProgram, launch: Launch) -> dict[int, int]:
    """Return the sizes in bytes of tensor arguments with recorded shapes, by index of their PTX parameter."""
    sizes = tensor_bytes(launch)
    return {index: sizes[name] for index, name in _arguments_by_parameter(program, launch) if name in sizes}


def tensor_bytes(launch: Launch) -> dict[str, int]:
    """Return the sizes in bytes of tensor arguments with recorded shapes, by argument name."""
    sizes: dict[str, int] = {}
    for name, text in launch.arguments:
        match = _TENSOR.match(text)
        if match and match[1] in DTYPE_BYTES:
            shape = [int(part) for part in match[2].split(",") if part.strip()]
            sizes[name] = math.prod(shape) * DTYPE_BYTES[match[1]]
    return sizes


def _arguments_by_parameter(program: PtxProgram, launch: Launch) -> list[tuple[int, str]]:
    """Pair the index of each PTX parameter with its argument's name; nothing where they cannot be matched.

    Compile-time arguments, and those that the JIT specialised as equal to 1, have no parameter.
    """
    names = [name for name, kind in launch.signature if kind != "constexpr"]
    constants = dict(launch.constants)
    names = [name for name in names if name not in constants]
    values = dict(launch.arguments)
    if len(names) > len(program.parameters) - 2:
        names = [name for name in names if values.get(name) != "1"]
    return list(enumerate(names)) if len(names) <= len(program.parameters) else []
