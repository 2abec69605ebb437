"""Choose the tile of a matrix product with its warps and stages, likelier where a simple model finds it faster.

The model knows the number of programs that the parent launches, and so the waves that another tile would need; the time
of a step on the tensor cores and that of its loads; and the shared memory that stages take.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from math import ceil, prod
from random import Random

from kopt.model.build import Launch as Built
from kopt.model.device import Device
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
MOST_STAGES = 4
SHARPNESS = 6
"""Exponent that turns a ratio of modelled times into a ratio of weights."""

Tile = tuple[int, int, int]


def _sites(module: TritonModule, facts: RewriteFacts) -> Sequence[Site]:
    sites = []
    for kernel in module.kernels:
        constants = [c for c in blocks(module) if c.kernel is kernel and c.name in dot_dimensions(kernel)]
        if len({c.name for c in constants}) == len(constants) == 3 and (ordered := _ordered(kernel, constants)):
            launch = constants[0].launch
            sites.append(Site(partial(_reshape, module, kernel, launch, *ordered, facts), weight(kernel)))
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
    launch: Launch,
    constants: Sequence[Constant],
    factors: Tile,
    facts: RewriteFacts,
    rng: Random,
) -> Change | None:
    now = tuple(c.value * f for c, f in zip(constants, factors, strict=True))
    others = [t for t in TILES if t != now]
    times = [_time(t, now, kernel, facts) for t in others]
    (shape,) = rng.choices(others, [(min(times) / t) ** SHARPNESS for t in times])
    values = [s // f for s, f in zip(shape, factors, strict=True)]
    if any(v > c.value and unmasked(c.kernel, c.name) for c, v in zip(constants, values, strict=True)):
        return None
    edits = module.edits()
    for constant, value in zip(constants, values, strict=True):
        edits.replace(constant.literal, str(value))
    warps = 8 if shape[0] >= 128 and shape[0] * shape[1] >= 128 * 128 else 4
    depth = stages(shape, facts.item_bytes, facts.device)
    if not kernel.autotuned:
        for option, number in (("num_warps", warps), ("num_stages", depth)):
            if option in launch.options:
                edits.replace(launch.options[option].value, str(number))
    text = "x".join(map(str, now)) + " -> " + "x".join(map(str, shape))
    return change(
        edits,
        f"product tiles {text} with {warps} warps and {depth} stages in {kernel.name}: more reuse of loaded operands",
    )


def stages(tile: Tile, item_bytes: int, device: Device) -> int:
    """Return how many stages of a tile's operands fit into shared memory, 2 to 4."""
    m, n, k = tile
    return max(2, min(MOST_STAGES, device.shared_bytes_per_block // ((m + n) * k * item_bytes)))


def product_model(
    module: TritonModule, kernel: Kernel, facts: RewriteFacts
) -> Callable[[Mapping[str, int]], tuple[Tile, float]] | None:
    """Make the model of a kernel: from the values of its constants to its tile and its time, of which ratios count.

    Return None for a kernel whose tile is not set by three constants.
    """
    constants = [c for c in blocks(module) if c.kernel is kernel and c.name in dot_dimensions(kernel)]
    if not len({c.name for c in constants}) == len(constants) == 3 or not (found := _ordered(kernel, constants)):
        return None
    ordered, factors = found

    def model(values: Mapping[str, int]) -> tuple[Tile, float]:
        m, n, k = (values.get(c.name, c.value) * f for c, f in zip(ordered, factors, strict=True))
        return (m, n, k), _time((m, n, k), now, kernel, facts)

    now = tuple(c.value * f for c, f in zip(ordered, factors, strict=True))
    return model


def _time(tile: Tile, now: tuple[int, ...], kernel: Kernel, facts: RewriteFacts) -> float:
    """Model the time of all launches of a kernel with another tile; only ratios mean something."""
    m, n, k = tile
    share = NARROW.get(min(n, 256), 1.0) * (1.0 if m >= 64 else 0.5)
    step = max(m * n * k * 2 / (MATRIX_RATE * share), (m + n) * k * facts.item_bytes / LOAD_RATE)
    latency = 700 / stages(tile, facts.item_bytes, facts.device)
    time = 0.0
    for launch in facts.launches:
        if launch.kernel == kernel.name:
            tiles = ceil(_tiles(launch) * (now[0] / m)) * (now[1] / n)
            waves = max(1.0, ceil(tiles / facts.device.sm_count - 0.02))
            time += waves * max(step, latency) / k
    return time or max(step, latency) / (m * n * k)


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
