"""Choose the configuration of a kernel, and write its grid, without timing.

`Any`: configurations are Triton's, which ships no types.
"""

from __future__ import annotations

import math
import random
import re
from dataclasses import dataclass
from typing import Any

from kopt.errors import SeedError
from kopt.model.device import Device
from kopt.seed.accesses import accesses
from kopt.seed.block_time import slowness
from kopt.seed.inductor_module import WrittenKernel

WANTED_BITS = 12
"""Elements of a block, as a power of two: 2^11 to 2^12 - 1."""
EQUAL = 0.25
"""Predicted times that differ by less than this power of two are equal."""
MUCH = 1.5
"""Factor by which a configuration has to be faster by prediction than the one that TorchInductor's rules take."""
MOST_ROWS = (1 << 14) - 1
"""Programs along the second axis at most: a launch has 2^16 - 1, and other workloads may need four times as many."""
LONGEST_ROW = 1 << 14
"""Elements of a row that one block may hold."""


_Key = tuple[tuple[tuple[str, int], ...], int, int]
"""Constants, warps and stages of a configuration."""


@dataclass(frozen=True)
class Configuration:
    """A configuration of a kernel."""

    constants: dict[str, int]
    """Values of its constexpr parameters by name."""
    warps: int
    stages: int


def configuration(kernel: WrittenKernel, variant: int, device: Device) -> Configuration:
    """Return one of the configurations that TorchInductor would time, by predicted time.

    The first is the one that TorchInductor's rules for reductions take without timing, unless another one is predicted
    to be much faster; among configurations that are predicted to be equal, blocks of the usual size come first.

    Args:
        kernel: the kernel.
        variant: its place in that order, from 0; the last one where there are fewer.
        device: the device to predict for.
    """
    tuner = kernel.tuner
    hints = dict(tuner.size_hints or {})
    reduces = any(axis.startswith("r") for axis in hints)
    untimed = [_key(config) for config in kernel.untuned.configs]
    found = accesses(kernel.source, tuner.triton_meta.get("signature", {}), list(hints))
    factors = {
        key: slowness(found, _block(key, hints), hints, key[1], device)
        for key in (*untimed, *(_key(config) for config in tuner.configs))
    }
    ruled = {key for key in untimed if reduces and len(untimed) == 1 and factors[key] < MUCH * min(factors.values())}

    def rank(key: _Key) -> tuple[bool, bool, int, int, int]:
        block = _block(key, hints)
        rows = hints.get("y", 1) // block.get("y", 1)
        bits = abs(math.prod(block.values()).bit_length() - WANTED_BITS)
        warps = abs(key[1] - (8 if reduces else 4))
        return rows > MOST_ROWS, key not in ruled, round(math.log2(factors[key]) / EQUAL), bits, warps

    ranked = sorted(factors, key=rank)
    constants, warps, stages = ranked[min(variant, len(ranked) - 1)]
    return Configuration(dict(constants), warps, stages)


def _key(config: Any) -> _Key:
    return tuple(config.kwargs.items()), config.num_warps, config.num_stages


def _block(key: _Key, hints: dict[str, int]) -> dict[str, int]:
    """Return the elements of a block by axis; a reduction that has no block of its own takes whole rows."""
    constants = dict(key[0])
    whole = {axis: min(size, LONGEST_ROW) for axis, size in hints.items() if axis.startswith("r")}
    return whole | {axis: constants[f"{axis.upper()}BLOCK"] for axis in hints if f"{axis.upper()}BLOCK" in constants}


def grid(kernel: WrittenKernel, config: Configuration, arguments: dict[str, str], given: list[str]) -> str:
    """Write the grid of a launch.

    Args:
        kernel: the kernel.
        config: its configuration.
        arguments: expressions of the kernel's arguments by parameter.
        given: expressions of the grid where the launch itself has them.

    Raises:
        SeedError: the grid is of a kind that kopt does not know.
    """
    kind = kernel.tuner.inductor_meta.get("grid_type")
    if kind == "FixedGrid":
        return _tuple([_cdiv(text) for text in given])
    axes = {"Grid1D": "x", "Grid2D": "xy", "Grid2DWithYZOverflow": "xy", "Grid3D": "xyz"}.get(str(kind))
    if axes is None:
        raise SeedError(f"TorchInductor launches a grid of the kind {kind}, which kopt does not know")
    blocks = [(arguments[f"{axis}numel"], f"{axis.upper()}BLOCK") for axis in axes]
    named = [
        f"triton.cdiv({elements}, META['{block}'])" if block in config.constants else elements
        for elements, block in blocks
    ]
    return f"lambda META: {_tuple(named)}" if any("META" in text for text in named) else _tuple(named)


def tiled(kernel: WrittenKernel, arguments: dict[str, str], given: list[str]) -> tuple[dict[str, int], str] | None:
    """Return the tile of a product as constants of its launch, with the grid that follows from them.

    TorchInductor writes both as numbers into kernel and launch, where no search finds them.  None for a kernel that is
    no product, or whose grid is another one.

    Args:
        kernel: the kernel.
        arguments: expressions of its arguments by parameter.
        given: expressions of the launch's grid.
    """
    values = dict(re.findall(r"^    (\w+) : tl\.constexpr = (\w+)$", kernel.source, re.MULTILINE))
    sizes = dict(re.findall(r"^    ([MN]) = (.+)$", kernel.source, re.MULTILINE))
    if not {"BLOCK_M", "BLOCK_N", "BLOCK_K"} <= values.keys() or not {"M", "N"} <= sizes.keys():
        return None
    rows, columns = (re.sub(r"[A-Za-z_]\w*", lambda m: arguments.get(m.group(), m.group()), sizes[n]) for n in "MN")
    constants = {name: int(values[name]) for name in ("BLOCK_M", "BLOCK_N", "BLOCK_K") if values[name].isdigit()}
    if values.get("EVEN_K") != "False":
        constants.pop("BLOCK_K")
    written = f"-(-({rows}) // {values['BLOCK_M']}) * -(-({columns}) // {values['BLOCK_N']})"
    if not {"BLOCK_M", "BLOCK_N"} <= constants.keys() or not same_numbers(written, given[0]):
        return None
    tiles = f"triton.cdiv({rows}, META['BLOCK_M']) * triton.cdiv({columns}, META['BLOCK_N'])"
    return constants, f"lambda META: {_tuple([tiles, *given[1:]])}"


def same_numbers(one: str, other: str) -> bool:
    """Return whether two expressions of sizes have the same value, tried with random sizes."""
    names = sorted(set(re.findall(r"[A-Za-z_]\w*", f"{one} {other}")) - {"max", "min"})
    draw = random.Random(0)
    for _ in range(4):
        values: dict[str, Any] = {name: draw.randrange(1, 4000) for name in names}
        try:
            if evaluated(one, values) != evaluated(other, values):
                return False
        except Exception:  # noqa: BLE001 - an expression that is no plain arithmetic
            return False
    return True


def evaluated(text: str, values: dict[str, Any]) -> Any:
    """Evaluate an expression of sizes that TorchInductor wrote: arithmetic, `max` and `min`."""
    return eval(text, {"__builtins__": {}, "max": max, "min": min}, values)


def _cdiv(text: str) -> str:
    """Write `(127 + n) // 128` as `triton.cdiv(n, 128)`."""
    match = re.fullmatch(r"\((\d+) \+ (.+)\) // (\d+)", text)
    if match and int(match.group(1)) == int(match.group(3)) - 1 and _closed(match.group(2)):
        return f"triton.cdiv({match.group(2)}, {match.group(3)})"
    return text


def _closed(text: str) -> bool:
    depth = 0
    for char in text:
        depth += (char == "(") - (char == ")")
        if depth < 0:
            return False
    return depth == 0


def _tuple(elements: list[str]) -> str:
    while len(elements) > 1 and elements[-1] == "1":
        elements = elements[:-1]
    return f"({elements[0]},)" if len(elements) == 1 else f"({', '.join(elements)})"
