"""Configurations are ordered by the runs of adjacent elements and the bytes under way that they give a kernel."""

from __future__ import annotations

from pathlib import Path

import pytest

from kopt.load_config import load_device
from kopt.seed.accesses import Access, accesses
from kopt.seed.block_time import slowness

H200 = load_device("h200", Path(__file__).resolve().parents[2])

AVERAGE = """
def kernel(in_ptr0, out_ptr0, ks0, ynumel, xnumel, YBLOCK, XBLOCK):
    yoffset = (tl.program_id(1) + tl.program_id(2) * tl.num_programs(1)) * YBLOCK
    yindex = yoffset + tl.arange(0, YBLOCK)[:, None]
    xindex = tl.program_id(0) * XBLOCK + tl.arange(0, XBLOCK)[None, :]
    x1 = xindex
    y0 = yindex
    tmp0 = tl.load(in_ptr0 + ((-1) + x1 + ks0*y0), ymask & xmask)
    tmp1 = tl.load(in_ptr0 + (x1 + ks0*y0), ymask & xmask)
    tl.store(out_ptr0 + (x1 + y0 + ks0*y0), tmp0 + tmp1, ymask & xmask)
"""


def best(
    found: list[Access], sizes: dict[str, int], configurations: list[tuple[dict[str, int], int]]
) -> dict[str, int]:
    return min(configurations, key=lambda choice: slowness(found, choice[0], sizes, choice[1], H200))[0]


def test_steps_are_found_along_each_axis() -> None:
    found = accesses(AVERAGE, {"in_ptr0": "*bf16", "out_ptr0": "*fp32", "ks0": "i32"}, ["y", "x"])
    assert [(access.pointer, access.element_bytes, access.is_load) for access in found] == [
        ("in_ptr0", 2, True), ("in_ptr0", 2, True), ("out_ptr0", 4, False),
    ]  # fmt: skip
    assert [access.steps["x"] for access in found] == [1, 1, 1]
    assert all(access.steps["y"] > 1000 for access in found)


def test_a_remainder_has_the_step_of_its_index_and_a_loaded_index_is_left_out() -> None:
    source = """
def kernel(in_ptr0, in_ptr1, out_ptr0, ks0, xnumel):
    x0 = xindex % ks0
    x1 = xindex // ks0
    tmp0 = tl.load(in_ptr0 + (x1), None)
    tmp1 = tl.load(in_ptr1 + (tmp0 + x0), None)
    tl.store(out_ptr0 + (2*x0 + ks0*x1), tmp1, None)
"""
    found = accesses(source, {"in_ptr0": "*i64", "in_ptr1": "*fp32", "out_ptr0": "*fp32", "ks0": "i64"}, ["x"])
    assert [(access.pointer, access.steps) for access in found] == [("in_ptr0", {"x": 0}), ("out_ptr0", {"x": 2})]


def test_blocks_of_a_pooling_along_rows_are_wide() -> None:
    found = accesses(AVERAGE, {"in_ptr0": "*fp32", "out_ptr0": "*fp32"}, ["y", "x"])
    tiles = [(32, 32, 4), (64, 64, 8), (16, 256, 8), (1024, 1, 4), (1, 1024, 4)]
    wide = best(found, {"y": 8192, "x": 131072}, [({"x": x, "y": y}, warps) for x, y, warps in tiles])
    assert wide == {"x": 1024, "y": 1}


@pytest.mark.parametrize(
    ("steps", "sizes", "wanted"),
    [
        ({"x": 1, "r0_": 4096}, {"x": 1 << 19, "r0_": 4096}, {"x": 64, "r0_": 64}),
        ({"x": 1, "r0_": 4096}, {"x": 1024, "r0_": 4096}, {"x": 8, "r0_": 512}),
        ({"x": 4096, "r0_": 1}, {"x": 1 << 15, "r0_": 1 << 16}, {"x": 1, "r0_": 2048}),
    ],
    ids=["many columns", "few columns", "rows"],
)
def test_blocks_of_a_reduction_lie_along_memory_and_keep_the_device_busy(
    steps: dict[str, int], sizes: dict[str, int], wanted: dict[str, int]
) -> None:
    offered = [
        ({"x": 1, "r0_": 2048}, 16),
        ({"x": 64, "r0_": 64}, 16),
        ({"x": 8, "r0_": 512}, 16),
        ({"x": 64, "r0_": 4}, 8),
    ]
    assert best([Access("in_ptr0", 4, True, steps)], sizes, offered) == wanted
