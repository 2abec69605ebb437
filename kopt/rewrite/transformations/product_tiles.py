"""Choose the tile of a matrix product with its warps and stages, likelier where a simple model finds it faster.

The model knows the number of programs that the parent launches, and so the waves that another tile would need; the time
of a step on the tensor cores and that of its loads; and the shared memory that stages take.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from math import ceil, inf, prod
from random import Random
from statistics import geometric_mean

import libcst as cst

from kopt.model.build import Launch as Built
from kopt.rewrite.host_values import count_tiles
from kopt.rewrite.limits import ACCUMULATED_PER_THREAD, loaded_bytes, size
from kopt.rewrite.source import syntax
from kopt.rewrite.source.edit import Edits
from kopt.rewrite.source.module import Constant, Kernel, Launch, TritonModule
from kopt.rewrite.source.shapes import analyse
from kopt.rewrite.transformation import Change, RewriteFacts, Site, Transformation, change, weight
from kopt.rewrite.transformations.tiles import blocks, dot_dimensions, unmasked, wide_name

TILES = (
    (128, 128, 64), (128, 128, 32), (128, 64, 64), (64, 128, 64), (128, 256, 64), (256, 128, 64), (64, 64, 64),
    (64, 256, 64), (64, 128, 128), (32, 128, 128), (32, 64, 128), (128, 128, 128), (128, 64, 128), (64, 64, 128),
)  # fmt: skip
"""Tiles (M, N, K) of a product: those that TorchInductor tries on Hopper, and smaller ones."""
NARROW = {16: 0.4, 32: 0.6, 64: 0.85, 128: 0.95}
"""Share of the tensor cores' rate that a matrix instruction of this width reaches; wider ones reach all of it."""
MATRIX_RATE = 4096
"""Operations per clock and multiprocessor of 16-bit products, on Hopper."""
LOAD_RATE = 38
"""Bytes per clock and multiprocessor from L2."""
STEP = 50
"""Clocks that a step of the loop costs beside products and loads."""
MOST_STAGES = 4
SHARPNESS = 6
"""Exponent that turns a ratio of modelled times into a ratio of weights."""

Tile = tuple[int, int, int]


def _sites(module: TritonModule, facts: RewriteFacts) -> Sequence[Site]:
    sites = []
    for kernel in module.kernels:
        found = tile_constants(module, kernel)
        if found is not None:
            sites.append(Site(partial(_reshape, module, kernel, *found, facts), weight(kernel)))
    return sites


def _ordered(kernel: Kernel, constants: Sequence[Constant]) -> tuple[Sequence[Constant], Tile] | None:
    """Order the constants as (M, N, K) of the kernel's products, and say how often each counts; None for others."""
    by_name = {c.name: c for c in constants}
    for call in kernel.called("tl.dot"):
        shapes = [analyse(kernel)[a.value].shape for a in call.args[:2] if a.value in analyse(kernel)]
        if len(shapes) == 2 and shapes[0] and shapes[1] and len(shapes[0]) == len(shapes[1]) == 2:
            wanted = (shapes[0][0], shapes[1][1], shapes[0][1])
            if all(wide_name(w) in by_name for w in wanted):
                m, n, k = (2 if w.startswith("2 * ") else 1 for w in wanted)
                return [by_name[wide_name(w)] for w in wanted], (m, n, k)
    return None


def _reshape(
    module: TritonModule,
    kernel: Kernel,
    constants: Sequence[Constant],
    factors: Tile,
    facts: RewriteFacts,
    rng: Random,
) -> Change | None:
    now = tuple(c.value * f for c, f in zip(constants, factors, strict=True))
    others = [t for t in TILES if t != now]
    model = ProductModel(module, kernel, constants, facts)
    chosen = [tuple(s // f for s, f in zip(t, factors, strict=True)) for t in others]
    times = [model.time(values) for values in chosen]
    if min(times) == inf:
        return None
    ((shape, values),) = rng.choices(
        list(zip(others, chosen, strict=True)), [(min(times) / time) ** SHARPNESS for time in times]
    )
    if any(v > c.value and unmasked(c.kernel, c.name) for c, v in zip(constants, values, strict=True)):
        return None
    edits = module.edits()
    warps, depth = _warps(shape), max(model.stages(values), 2)
    put_tile(edits, module, constants, values, warps, depth)
    text = "x".join(map(str, now)) + " -> " + "x".join(map(str, shape))
    return change(
        edits,
        f"product tiles {text} with {warps} warps and {depth} stages in {kernel.name}: more reuse of loaded operands",
    )


def put_tile(
    edits: Edits, module: TritonModule, constants: Sequence[Constant], values: Sequence[int], warps: int, stages: int
) -> None:
    """Give a product another tile, and its launches the warps and stages that suit it, unless they are tuned.

    Args:
        edits: takes the changes.
        module: the module.
        constants: the product's three constants (`tile_constants`).
        values: their new values.
        warps: warps of a program.
        stages: stages of the loop.
    """
    for constant, value in zip(constants, values, strict=True):
        edits.replace(constant.literal, str(value))
    for each in () if constants[0].kernel.autotuned else _with_tile(module, constants[0].launch, constants):
        options = {"num_warps": warps, "num_stages": stages}
        for name in options.keys() & each.options.keys():
            edits.replace(each.options[name].value, str(options[name]))
        taken = {*each.options, *each.arguments, *(parameter.name for parameter in constants[0].kernel.parameters)}
        missing = [f", {name}={number}" for name, number in options.items() if name not in taken]
        if missing and not each.opaque:
            edits.after(each.call.args[-1], "".join(missing))


def _with_tile(module: TritonModule, launch: Launch, constants: Sequence[Constant]) -> list[Launch]:
    """Find the launches that take their tile from the same names: also that of a kernel which stands in for another."""
    names = {c.name: c.variable for c in constants}
    return [
        each
        for each in module.launches
        if each is launch or (each.function is launch.function and all(
            variable and name in each.arguments and syntax.code(each.arguments[name].value) == variable
            for name, variable in names.items()
        ))
    ]  # fmt: skip


def _warps(tile: Sequence[int]) -> int:
    return 8 if tile[0] >= 128 and tile[0] * tile[1] >= 128 * 128 else 4


def tile_constants(module: TritonModule, kernel: Kernel) -> tuple[Sequence[Constant], Tile] | None:
    """Find the constants (M, N, K) that set a product's tile, and how often each counts; None where others do."""
    constants = [c for c in blocks(module) if c.kernel is kernel and c.name in dot_dimensions(kernel)]
    return _ordered(kernel, constants) if len({c.name for c in constants}) == len(constants) == 3 else None


def model_of(module: TritonModule, kernel: Kernel, facts: RewriteFacts) -> ProductModel | None:
    """Make the model of a kernel; None for a kernel whose tile is not set by three constants."""
    found = tile_constants(module, kernel)
    return ProductModel(module, kernel, found[0], facts) if found else None


def product_model(
    module: TritonModule, kernel: Kernel, facts: RewriteFacts
) -> Callable[[Mapping[str, int]], tuple[Tile, float]] | None:
    """Make the model of a kernel: from the values of its constants to its tile and its time, of which ratios count.

    Return None for a kernel whose tile is not set by three constants.
    """
    found = tile_constants(module, kernel)
    if found is None:
        return None
    ordered, factors = found
    built = ProductModel(module, kernel, ordered, facts)

    def model(values: Mapping[str, int]) -> tuple[Tile, float]:
        chosen = [values.get(c.name, c.value) for c in ordered]
        m, n, k = (value * f for value, f in zip(chosen, factors, strict=True))
        return (m, n, k), built.time(chosen, fits=False)

    return model


@dataclass(frozen=True)
class _Extent:
    """Extent of a program's tile, in elements."""

    products: tuple[tuple[int, int], ...]
    """Rows and width of each product."""
    operands: int
    """Rows of all left operands and widths of all right ones."""
    depth: int
    """Depth of a step."""

    @property
    def area(self) -> int:
        """Elements of all results."""
        return sum(m * n for m, n in self.products)


class ProductModel:
    """Model of the time of a product's launches, by the values of its three constants."""

    def __init__(
        self, module: TritonModule, kernel: Kernel, constants: Sequence[Constant], facts: RewriteFacts
    ) -> None:
        self._module, self._facts = module, facts
        self.constants = constants
        """Constants of M, N and K."""
        self._launches = [each for each in facts.launches if each.kernel == kernel.name]
        self._item_bytes = loaded_bytes(kernel, facts)
        pairs = [[a.value for a in call.args[:2]] for call in kernel.called("tl.dot")]
        shapes = [[(syntax.code(a), analyse(kernel)[a].shape) for a in pair if a in analyse(kernel)] for pair in pairs]
        self._products = [(pair[0], pair[1]) for pair in shapes if len(pair) == 2]

    def time(self, values: Sequence[int], *, fits: bool = True) -> float:
        """Return the geometric mean over launches, of which only ratios mean something.

        Args:
            values: values of the constants.
            fits: whether a tile that does not fit takes infinitely long.
        """
        tile, depth = self._extent(values), self.stages(values)
        if fits and (depth < 2 or tile.area > ACCUMULATED_PER_THREAD * 32 * _warps(tile.products[0])):
            return inf
        compute = sum(
            m * n * tile.depth * 2 / (MATRIX_RATE * NARROW.get(min(n, 256), 1.0) * (1.0 if m >= 64 else 0.5))
            for m, n in tile.products
        )
        loads = tile.operands * tile.depth * self._item_bytes / LOAD_RATE
        step = (max(compute, loads, 700 / max(depth, 2)) + STEP) / tile.depth
        changed = {c.literal: value for c, value in zip(self.constants, values, strict=True)}
        times = [step * self._waves(built, changed, tile) for built in self._launches]
        return geometric_mean(times) if times else step / tile.area

    def stages(self, values: Sequence[int]) -> int:
        """Return how many stages of a tile's operands fit into shared memory, up to 4."""
        tile = self._extent(values)
        of_step = tile.operands * tile.depth * self._item_bytes
        return min(MOST_STAGES, self._facts.device.shared_bytes_per_block // of_step)

    def _extent(self, values: Sequence[int]) -> _Extent:
        named = {c.name: value for c, value in zip(self.constants, values, strict=True)}
        m, n, k = values
        lefts, rights, products = dict[str, int](), dict[str, int](), list[tuple[int, int]]()
        for (left, rows), (right, columns) in self._products:
            lefts[left] = size(rows[:1] if rows else None, named) or m
            rights[right] = size(columns[1:] if columns else None, named) or n
            products.append((lefts[left], rights[right]))
        if not products:
            return _Extent(((m, n),), m + n, k)
        return _Extent(tuple(products), sum(lefts.values()) + sum(rights.values()), k)

    def _waves(self, built: Built, changed: Mapping[cst.CSTNode, int], tile: _Extent) -> float:
        """Return how many tiles the busiest multiprocessor computes in a launch."""
        facts = self._facts.model_copy(update={"launches": (built,)})
        tiles = count_tiles(self.constants[0].launch, self._module, facts, changed)
        if tiles is None:
            now = self._extent([c.value for c in self.constants])
            tiles = ceil(_tiles(built) * now.area / tile.area)
        return max(1.0, ceil(tiles / self._facts.device.sm_count - 0.02))


def _tiles(launch: Built) -> int:
    """Count the tiles of a launch: its programs, or those that a persistent grid stands for."""
    passed = dict(launch.arguments)
    counted = [int(text) for n in range(3) if (text := passed.get(f"programs_{n}", "")).isdigit()]
    return prod(counted) if counted else prod(launch.grid)


TRANSFORMATIONS = (
    Transformation(
        "tile_shape", "another (M, N, K) tile of a matrix product, with the warps and stages that suit it",
        ("tensor_cores", "shared_memory_tiling", "register_tiling"),
        ("tensor_cores_idle", "small_tiles", "redundant_traffic", "untuned_configuration"),
        _sites, 3.0, lightens=True,
    ),
)  # fmt: skip
