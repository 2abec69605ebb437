"""Choose the configuration of a kernel, and write its grid, without timing.

`Any`: configurations are Triton's, which ships no types.
"""

from __future__ import annotations

import random
import re
from dataclasses import dataclass
from typing import Any

from kopt.errors import SeedError
from kopt.seed.inductor_module import WrittenKernel

WANTED_BITS = (12, 11, 13)
"""Elements of a block, as powers of two: of the first variant 2^11 to 2^12 - 1, and so on."""
LONGEST_ROW = 1 << 14
"""Elements of a row that one block may hold."""


@dataclass(frozen=True)
class Configuration:
    """A configuration of a kernel."""

    constants: dict[str, int]
    """Values of its constexpr parameters by name."""
    warps: int
    stages: int


def configuration(kernel: WrittenKernel, variant: int) -> Configuration:
    """Return one of the configurations that TorchInductor would time.

    Args:
        kernel: the kernel.
        variant: the first variant is 0; each wants another size of a block.
    """
    hints = kernel.tuner.size_hints or {}
    bits = WANTED_BITS[variant % len(WANTED_BITS)]

    def rank(config: Any) -> tuple[int, int, int]:
        row = config.kwargs.get("R0_BLOCK", min(hints.get("r0_", 1), LONGEST_ROW))
        block = row
        for name in ("XBLOCK", "YBLOCK", "ZBLOCK"):
            block *= config.kwargs.get(name, 1)
        narrow = abs(config.kwargs.get("XBLOCK", 1) - config.kwargs.get("YBLOCK", config.kwargs.get("XBLOCK", 1)))
        return abs(block.bit_length() - bits), narrow, abs(config.num_warps - (8 if "R0_BLOCK" in config.kwargs else 4))

    best = min(kernel.tuner.configs, key=rank)
    return Configuration(dict(best.kwargs), best.num_warps, best.num_stages)


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
