"""Predict how long a product takes with a tile, to order the tiles that TorchInductor offers; nothing is built.

A block works through its passes over the depth.  A pass takes as long as its multiplications, or as its loads from L2
together with the wait for them, which copies that run ahead shorten.  The constants were fitted to the times of 36
tiles of four products on an H200, and those of float32 to 18 of two (tests/seed/test_product_time.py): the tile that is
predicted to be the fastest was the fastest that was measured, or 1 % slower.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from kopt.model.device import Device
from kopt.roofline import matmul_tflop_s

HOPPER = 90
"""Compute capability times ten from which on groups of four warps multiply together."""
L2_BYTES_PER_CYCLE = 58.0
"""Bytes per multiprocessor and clock from L2, of lines that are read whole."""
HALF_LINE_SHARE = 0.63
"""Share of that rate where rows of a tile are shorter than a line."""
LINE_BYTES = 128
L2_LATENCY, DRAM_LATENCY = 250e-9, 870e-9
"""Latency of a pass's loads from L2, and from DRAM that is fully busy, s."""
OVERLAP = 3.0
"""Exponent of the norm that joins times that hinder each other."""
WGMMA_SHARES = ((128, 1.0), (64, 0.85), (32, 0.6), (0, 0.4))
"""Share of the matrix rate by the columns of a tile."""
MMA_SYNC_SHARE = 0.5
"""Share of Hopper's matrix rate for tiles of fewer than 64 rows, or fewer than four warps."""
SUMS = ((128, 0.64, 0.28), (64, 0.8, 0.37), (32, 0.77, 0.23), (16, 0.63, 0.15), (0, 0.45, 0.1))
"""Share of the vector rate that float32 reaches by a thread's sums, with a second factor whose rows lie together in
memory, and with one whose columns do: its tile lies so in shared memory that threads wait for each other."""
SHALLOW = 16
"""Depth of a float32 tile up to which 128 sums a thread leave registers for its factors."""
SLIM, SLIM_SHARE = 32, 0.62
"""Rows or columns below which a thread reads more factors for its sums, and the share of its rate that is left."""
SHARED_RESERVED = 1024
"""Shared memory that each block takes beside its own, bytes."""
MOST_REGISTERS = 255
LAUNCH_SECONDS = 2.5e-6


@dataclass(frozen=True)
class Tile:
    """The tile of a product: rows, columns and depth, stages of its pipeline, and warps."""

    m: int
    n: int
    k: int
    stages: int
    warps: int


@dataclass(frozen=True)
class Product:
    """Products of factors of m x k and k x n."""

    m: int
    n: int
    k: int
    dtype: str
    """Name of the factors' dtype, e.g. bfloat16."""
    element_bytes: int
    batches: int = 1
    taps: int = 1
    """Times that the depth is walked: taps of a convolution."""
    columns_lie: bool = False
    """Whether columns of the second factor lie together in memory, not its rows."""

    @property
    def is_vector(self) -> bool:
        """Whether no matrix instruction computes it: float32 is exact here."""
        return self.element_bytes >= 4

    @property
    def bytes(self) -> int:
        """Bytes of factors and result."""
        return self.batches * (self.m * self.k + self.taps * self.k * self.n + self.m * self.n) * self.element_bytes


def seconds(product: Product, tile: Tile, device: Device) -> float:
    """Return the predicted time of a product, s; infinite for a tile that does not fit shared memory."""
    shared = tile.stages * (tile.m + tile.n) * tile.k * product.element_bytes
    if shared > device.shared_bytes_per_block:
        return math.inf
    blocks = product.batches * math.ceil(product.m / tile.m) * math.ceil(product.n / tile.n)
    passes = product.taps * math.ceil(product.k / tile.k)
    multiply, load = _multiply_seconds(product, tile, device), _load_seconds(product, tile, device)
    dram = product.bytes / (device.copy_gb_s * 1e9)
    busiest = math.ceil(blocks / device.sm_count)
    even = passes * blocks / device.sm_count
    latency = L2_LATENCY + (DRAM_LATENCY - L2_LATENCY) * dram / max(dram, even * load, even * multiply)
    alone = latency / max(tile.stages - 1, 1) + multiply
    resident = _resident(product, tile, shared, device)
    total = 0.0
    for first in range(0, busiest, resident):
        together = min(resident, busiest - first)
        total += passes * max(together * multiply, _norm(alone, together * load))
        if first == 0 and busiest > 16 * resident:
            return _norm(total * busiest / resident, dram) + LAUNCH_SECONDS
    return _norm(total, dram) + LAUNCH_SECONDS


def _norm(one: float, other: float) -> float:
    return float((one**OVERLAP + other**OVERLAP) ** (1 / OVERLAP))


def _multiply_seconds(product: Product, tile: Tile, device: Device) -> float:
    """Return the time of a pass's multiplications on a multiprocessor, s."""
    if product.is_vector:
        share, rate = _vector_share(product, tile), device.vector_tflop_s
    else:
        share, rate = _matrix_share(tile, device), matmul_tflop_s(device, product.dtype)
    return 2 * tile.m * tile.n * tile.k / (rate * 1e12 / device.sm_count * share)


def _matrix_share(tile: Tile, device: Device) -> float:
    if device.arch < HOPPER:
        return 1.0
    if tile.m < 64 or tile.warps < 4:
        return MMA_SYNC_SHARE
    return next(share for least, share in WGMMA_SHARES if tile.n >= least)


def _vector_share(product: Product, tile: Tile) -> float:
    sums = _sums(tile)
    if sums == 128 and tile.k <= SHALLOW:
        sums = 64
    share = next(by_column if product.columns_lie else by_row for least, by_row, by_column in SUMS if sums >= least)
    return share * (SLIM_SHARE if min(tile.m, tile.n) < SLIM else 1.0)


def _load_seconds(product: Product, tile: Tile, device: Device) -> float:
    """Return the time in which L2 gives a multiprocessor the tiles of a pass, s."""
    rows = ((tile.m, tile.k), (tile.n, tile.k) if product.columns_lie else (tile.k, tile.n))
    cycles = 0.0
    for count, length in rows:
        row_bytes = length * product.element_bytes
        share = 1.0 if row_bytes >= LINE_BYTES else HALF_LINE_SHARE
        cycles += count * row_bytes / (L2_BYTES_PER_CYCLE * share)
    return cycles / (device.sm_clock_mhz * 1e6)


def _sums(tile: Tile) -> int:
    """Return how many sums a thread keeps."""
    return tile.m * tile.n // (32 * tile.warps)


def _resident(product: Product, tile: Tile, shared: int, device: Device) -> int:
    """Return how many blocks share a multiprocessor, at least one, by a guess of their registers."""
    registers = min(MOST_REGISTERS, int(_sums(tile) * (2.5 if product.is_vector else 1.2)) + 40)
    threads = device.warp_size * tile.warps
    return max(
        1,
        min(
            device.shared_bytes_per_sm // (shared + SHARED_RESERVED),
            device.registers_per_sm // (registers * threads),
            device.threads_per_sm // threads,
            device.blocks_per_sm,
        ),
    )
