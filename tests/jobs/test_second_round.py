"""Round 2 of a search on an H200 (rmsnorm): what round 1 showed decides what is drawn around its two best kernels."""

import math

import pytest

from kopt.artifact import text_digest
from kopt.jobs.kernels import put_kernel
from kopt.jobs.rewriter import Request, proposal
from kopt.model.build import Launch
from kopt.model.diagnosis import Direction
from kopt.model.problem import TensorSpec, WorkloadFacts
from kopt.rewrite.experience import Experience, Tried
from kopt.rewrite.source.module import parse
from kopt.rewrite.transformation import RewriteFacts
from kopt.rewrite.tunables import Numbers, numbers, read_rows
from kopt.rewrite.tune import TUNED
from kopt.store import Store
from tests.rewrite import samples

SECOND = """\
import torch
import triton
import triton.language as tl


@triton.jit
def rmsnorm_kernel(x_ptr, y_ptr, features, positions, eps, BLOCK: tl.constexpr, AXIS: tl.constexpr, columns_of_programs):
    batch = (tl.program_id(0) // columns_of_programs).to(tl.int64)
    offsets = (tl.program_id(0) % columns_of_programs) * BLOCK + tl.arange(0, BLOCK)
    mask = offsets < positions
    base = batch * features * positions
    total = tl.zeros((BLOCK,), dtype=tl.float32)
    feature = tl.arange(0, AXIS)[:, None]
    x = tl.load(x_ptr + base + feature * positions + offsets, mask=mask & (feature < features), other=0.0).to(tl.float32)
    total = total + tl.sum(tl.where((feature < features), x * x, 0.0), axis=0)
    rms = tl.sqrt(total / features + eps)
    x = tl.load(x_ptr + base + feature * positions + offsets, mask=mask & (feature < features), other=0.0).to(tl.float32)
    y = x  *  (1.0 / rms)
    tl.store(y_ptr + base + feature * positions + offsets, y.to(y_ptr.dtype.element_ty), mask=mask & (feature < features))


def kernel_function(x, eps=1e-5):
    batch, features = x.shape[:2]
    positions = x.shape[2] * x.shape[3]
    y = torch.empty_like(x)
    BLOCK = 64
    AXIS = triton.next_power_of_2(features)
    grid = ((batch * triton.cdiv(positions, BLOCK),))
    rmsnorm_kernel[grid](x, y, features, positions, eps, BLOCK=BLOCK, num_warps=4, AXIS=AXIS, columns_of_programs=triton.cdiv(positions, BLOCK))
    return y
"""  # noqa: E501  # as the search wrote it
WINNER = (
    SECOND.replace("BLOCK = 64", "BLOCK = 128").replace("num_warps=4", "num_warps=2")
    .replace("y_ptr, features,", "y_ptr, features: tl.constexpr,")
    .replace("(tl.program_id(0) % columns_of_programs) * BLOCK + tl.arange(0, BLOCK)",
             "tl.max_contiguous(tl.multiple_of((tl.program_id(0) % columns_of_programs) * BLOCK + tl.arange(0, BLOCK),"
             " BLOCK), BLOCK)")
)  # fmt: skip

AXIS = ("axis_in_registers", "whole_axis", "shared_reciprocal")
ORDERED = (*AXIS, "grid_order")
SEED_MS = 3.2476
ROUND_1 = (
    (1.8176, (*ORDERED, "offset_hint", "warps", "constant_sizes"), {"BLOCK": 128, "num_warps": 2}),
    (1.9021, ORDERED, {"BLOCK": 64, "num_warps": 4}),
    (1.9710, (*ORDERED, "pipelined_rows"), {"BLOCK": 128, "num_warps": 4, "loop.num_stages": 2, "programs": 528}),
    (2.0237, (*ORDERED, "warps", "pipelined_rows"),
     {"BLOCK": 64, "num_warps": 1, "loop.num_stages": 3, "programs": 396}),
    (2.0834, (*ORDERED, "pipelined_rows"), {"BLOCK": 64, "num_warps": 2, "loop.num_stages": 3, "programs": 528}),
    (2.1786, ("whole_axis",), {"BLOCK": 64, "num_warps": 2}),
    (2.4705, (*AXIS, "pipelined_rows"), {"BLOCK": 128, "num_warps": 4, "loop.num_stages": 2, "programs": 264}),
    (2.7221, ("tile_and_warps", "whole_axis"), {"BLOCK": 256, "num_warps": 4}),
    (2.7562, (*ORDERED, "pipelined_rows"), {"BLOCK": 64, "num_warps": 4, "loop.num_stages": 2, "programs": 396}),
    (2.7603, ("tile_and_warps", "offset_hint"), {"BLOCK": 512, "num_warps": 2}),
    (3.3172, (*ORDERED, "pipelined_rows", "pipeline_loop"),
     {"BLOCK": 64, "num_warps": 4, "loop.num_stages": 5, "programs": 132}),
    (3.3886, (*ORDERED, "pipelined_rows"), {"BLOCK": 64, "num_warps": 4, "loop.num_stages": 2, "programs": 264}),
    (3.3959, (*AXIS, "pipelined_rows", "tile_size", "even_flag"),
     {"BLOCK": 32, "num_warps": 4, "loop.num_stages": 3, "programs": 264}),
    (4.0569, (*ORDERED, "pipelined_rows"), {"BLOCK": 128, "num_warps": 4, "loop.num_stages": 2, "programs": 132}),
    (4.3499, ("whole_axis", "even_flag", "narrow_index", "tile_and_warps"), {"BLOCK": 128, "num_warps": 16}),
    (6.1306, (*AXIS, "pipelined_rows", "warps"),
     {"BLOCK": 128, "num_warps": 1, "loop.num_stages": 3, "programs": 132}),
)  # fmt: skip
"""The kernels of round 1: time in ms, transformations, numbers."""
LOOPS = {"pipelined_rows", "persistent_grid"}
"""Transformations by which a fixed number of programs walk over the work."""


def launch(source):
    """The launch of one of the two parents, as the build recorded it."""
    block, warps = (128, 2) if source == WINNER else (64, 4)
    return Launch(
        kernel="rmsnorm_kernel", grid=(112 * 262144 // block, 1, 1), num_warps=warps, num_stages=3, num_ctas=1,
        shared_bytes=1024, registers=64, spills=0, signature=(), constants=(("AXIS", "64"), ("BLOCK", str(block))),
        arguments=(("features", "64"), ("positions", "262144"), ("columns_of_programs", str(262144 // block))),
    )  # fmt: skip


X = TensorSpec(name="x", shape=(112, 64, 512, 512), dtype="bfloat16")
WORKLOAD = WorkloadFacts(workload="main", inputs=(X,), outputs=(X,), eager_ops=())
DEVICE = samples.facts().device
PARENTS = (WINNER, SECOND)
FACTS = {
    source: RewriteFacts(launches=(launch(source),), device=DEVICE, workloads=(WORKLOAD,)) for source in PARENTS
}  # fmt: skip


def tried():
    """Return the results of the seed and of round 1's kernels; the two parents have the sketches of their sources."""
    rows = [Tried(kernel="seed", parent="", outcome="passed", time_ms=SEED_MS)]
    for place, (time, moves, values) in enumerate(ROUND_1):
        parent = PARENTS[place] if place < len(PARENTS) else None
        named = tuple(f"rmsnorm_kernel.{name}={value}" for name, value in sorted(values.items()))
        rows.append(
            Tried(
                kernel=text_digest(parent) if parent else f"other {place}", parent="seed", moves=moves,
                sketch=numbers(parse(parent), FACTS[parent]).sketch if parent else " ".join(moves), numbers=named,
                outcome="passed", time_ms=time, gain=math.log(SEED_MS / time),
            )
        )  # fmt: skip
    return tuple(rows)


LOW_OCCUPANCY = Direction(rank=1, bottleneck="low_occupancy", cause="", direction="")
UNTUNED = Direction(
    rank=2, bottleneck="untuned_configuration", cause="", direction="", techniques=("autotuned_config",)
)  # fmt: skip
SMALL_TILES = Direction(
    rank=2, bottleneck="small_tiles", cause="", direction="", techniques=("shared_memory_tiling", "register_tiling")
)  # fmt: skip
SLOTS = (
    *((WINNER, LOW_OCCUPANCY, tunes) for tunes in (False,) * 4), *((WINNER, UNTUNED, tunes) for tunes in (True,) * 4),
    *((SECOND, UNTUNED, tunes) for tunes in (False,) * 4), *((SECOND, SMALL_TILES, tunes) for tunes in (True,) * 4),
)  # fmt: skip
"""Parent and direction of each slot of round 2, and whether it refines: half of each parent's."""


def second_round(store, seed):
    """The proposals of round 2, each with its parent."""
    experience = Experience(tried())
    known = {put_kernel(source, store) for source in PARENTS}
    made = []
    for slot, (parent, direction, tunes) in enumerate(SLOTS):
        pending = tuple(Numbers(each.sketch, read_rows(each.numbers)) for _, each in made)
        request = Request(
            parent=text_digest(parent), failed=None, direction=direction, facts=FACTS[parent], seed=100 * seed + slot,
            exclude=frozenset(known), experience=experience, turn=slot if tunes else None,
            refined=True, pending=pending,
        )  # fmt: skip
        made.append((parent, proposal(request, store)))
        known.add(text_digest(made[-1][1].rewrite.source))
    return made


@pytest.fixture(scope="module", params=[0, 1])
def proposals(request, tmp_path_factory):
    return second_round(Store(tmp_path_factory.mktemp("store")), request.param)


def test_loops_over_programs_that_lost_are_seldom_drawn_again(proposals):
    drawn = [LOOPS & set(each.rewrite.transformations) for _, each in proposals]
    assert sum(map(bool, drawn)) <= 3
    assert sum("pipelined_rows" in moves for moves in drawn) <= 1


def test_half_of_the_proposals_keep_tile_and_warps_of_their_parents(proposals):
    def keeps(parent, each):
        before, after = (read_rows(rows) for rows in (numbers(parse(parent), FACTS[parent]).rows(), each.numbers))
        return all(after.get(name) == value for name, value in before.items())

    assert sum(keeps(*pair) for pair in proposals) >= len(proposals) / 2


def test_no_kernel_is_proposed_twice(proposals):
    sources = [each.rewrite.source for _, each in proposals]
    assert len({*sources, *PARENTS}) == len(sources) + len(PARENTS)
    points = [(each.sketch, each.numbers) for _, each in proposals]
    assert len(set(points)) == len(points)


def test_refinements_change_numbers_by_a_step_and_other_things_in_turn(proposals):
    for parent, each in (pair for pair, (*_, tunes) in zip(proposals, SLOTS, strict=True) if tunes):
        before, after = numbers(parse(parent), FACTS[parent]), read_rows(each.numbers)
        if each.rewrite.transformations == (TUNED,):
            assert each.sketch == before.sketch
            assert all(after[name] in (value // 2, value, 2 * value) for name, value in before.values.items())
        else:
            assert len(each.rewrite.transformations) <= 2
            assert after == before.values
    tuned = [each.rewrite.transformations == (TUNED,) for _, each in proposals]
    assert sum(tuned) == 4
