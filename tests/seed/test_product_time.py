"""The tile that is predicted to be the fastest is among the fastest that were measured.

Measured on an H200 by torch.compile (max-autotune) of torch 2.11 and Triton 3.6, in ms.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.fx.experimental.proxy_tensor import make_fx

from kopt.load_config import load_device
from kopt.seed.products.row_factors import lay_in_rows
from kopt.seed.products.time import Product, Tile, seconds

ROOT = Path(__file__).resolve().parents[2]
H200 = load_device("h200", ROOT)

MEASURED = {
    "512 rows, bfloat16": (
        Product(512, 24576, 3072, "bfloat16", 2, columns_lie=True),
        [
            (0.1151, Tile(128, 128, 64, 3, 4)), (0.1224, Tile(128, 128, 64, 5, 8)), (0.1416, Tile(128, 128, 32, 3, 4)),
            (0.1458, Tile(64, 128, 64, 3, 4)), (0.1532, Tile(64, 128, 128, 4, 4)), (0.1950, Tile(64, 128, 32, 4, 8)),
            (0.1990, Tile(64, 64, 64, 3, 8)), (0.1990, Tile(128, 64, 32, 4, 8)), (0.2036, Tile(64, 128, 32, 3, 4)),
        ],
    ),
    "128 rows, bfloat16": (
        Product(128, 24576, 3072, "bfloat16", 2, columns_lie=True),
        [
            (0.0514, Tile(64, 128, 64, 3, 4)), (0.0537, Tile(128, 128, 64, 3, 4)), (0.0558, Tile(64, 128, 128, 4, 4)),
            (0.0568, Tile(128, 128, 64, 5, 8)), (0.0663, Tile(64, 64, 64, 3, 8)), (0.0695, Tile(64, 64, 128, 5, 4)),
            (0.0714, Tile(64, 128, 32, 3, 4)), (0.0715, Tile(64, 128, 32, 4, 8)), (0.0749, Tile(128, 128, 32, 3, 4)),
        ],
    ),
    "one wave, bfloat16": (
        Product(512, 4096, 4096, "bfloat16", 2, columns_lie=True),
        [
            (0.0303, Tile(128, 128, 64, 5, 8)), (0.0408, Tile(128, 128, 64, 3, 4)), (0.0443, Tile(64, 128, 64, 3, 4)),
            (0.0457, Tile(64, 128, 128, 4, 4)), (0.0476, Tile(64, 64, 64, 3, 8)), (0.0509, Tile(128, 64, 32, 4, 8)),
            (0.0513, Tile(64, 128, 32, 4, 8)), (0.0535, Tile(64, 64, 128, 5, 4)), (0.0648, Tile(128, 64, 32, 3, 4)),
        ],
    ),
    "64 rows, float16": (
        Product(64, 4096, 4096, "float16", 2, columns_lie=True),
        [
            (0.0189, Tile(64, 32, 128, 5, 4)), (0.0201, Tile(64, 64, 128, 5, 4)), (0.0231, Tile(64, 128, 128, 4, 4)),
            (0.0239, Tile(64, 128, 128, 4, 8)), (0.0267, Tile(64, 128, 64, 5, 8)), (0.0358, Tile(64, 64, 64, 3, 8)),
            (0.0373, Tile(32, 32, 128, 2, 4)), (0.0379, Tile(64, 32, 32, 5, 8)), (0.0384, Tile(64, 128, 64, 3, 4)),
        ],
    ),
    "a transposed weight, float32": (
        Product(1024, 2048, 2048, "float32", 4, columns_lie=True),
        [
            (0.3892, Tile(64, 128, 64, 3, 4)), (0.3916, Tile(64, 128, 32, 3, 4)), (0.3995, Tile(128, 64, 32, 3, 4)),
            (0.4296, Tile(128, 128, 32, 2, 8)), (0.5559, Tile(128, 128, 32, 3, 4)), (0.6232, Tile(128, 64, 32, 4, 8)),
            (0.6256, Tile(64, 128, 32, 4, 8)), (0.6306, Tile(64, 64, 32, 2, 4)), (0.6610, Tile(64, 64, 16, 2, 4)),
        ],
    ),
    "a batch, float32": (
        Product(512, 2048, 1024, "float32", 4, batches=128),
        [
            (5.8650, Tile(128, 64, 32, 3, 4)), (5.9211, Tile(64, 128, 32, 3, 4)), (6.0642, Tile(64, 64, 32, 2, 4)),
            (6.0701, Tile(64, 128, 32, 4, 8)), (6.2018, Tile(64, 64, 16, 2, 4)), (6.2414, Tile(128, 64, 32, 4, 8)),
            (7.1504, Tile(128, 128, 32, 2, 8)), (7.1928, Tile(128, 128, 32, 3, 4)), (7.3446, Tile(64, 64, 64, 3, 8)),
        ],
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", MEASURED)
def test_the_tile_predicted_to_be_the_fastest_was_fast(name: str) -> None:
    product, measured = MEASURED[name]
    chosen, _ = min(measured, key=lambda one: seconds(product, one[1], H200))
    assert chosen <= 1.03 * min(ms for ms, _ in measured)
    for ms, tile in measured:
        assert seconds(product, tile, H200) * 1e3 == pytest.approx(ms, rel=0.25), tile


def test_a_tile_that_does_not_fit_shared_memory_takes_forever() -> None:
    product, _ = MEASURED["one wave, bfloat16"]
    assert seconds(product, Tile(128, 128, 128, 4, 8), H200) == math.inf


X, WEIGHT = torch.empty(1024, 512), torch.empty(2048, 512)


@pytest.mark.parametrize(
    ("factors", "turned"),
    [
        ((X, WEIGHT.t()), True),
        ((X[:8], WEIGHT.t()), False),
        ((X, WEIGHT.t().contiguous()), False),
        ((X.bfloat16(), WEIGHT.bfloat16().t()), False),
    ],
    ids=["transposed", "few rows", "in rows", "bfloat16"],
)
def test_a_transposed_weight_is_turned_for_many_rows_in_float32(factors: Any, turned: bool) -> None:
    graph = make_fx(torch.mm, tracing_mode="fake")(*factors)
    lay_in_rows(graph, H200, torch.clone)
    copies = [node for node in graph.graph.nodes if node.target is torch.clone]
    assert [node.args[1] for node in copies] == [[2, 1]] * turned
    assert all(node.meta["val"].stride() == (2048, 1) for node in copies)
