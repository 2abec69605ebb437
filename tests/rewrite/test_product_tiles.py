"""Tiles of products: what the model counts, and which moves know the tiles that descriptors bring."""

import ast
from dataclasses import replace
from random import Random

import pytest

from kopt.model.build import Launch
from kopt.rewrite.catalogue import TRANSFORMATIONS
from kopt.rewrite.host_values import count_tiles
from kopt.rewrite.limits import option, plausible
from kopt.rewrite.source.module import TritonModule, parse
from kopt.rewrite.transformation import RewriteFacts
from kopt.rewrite.transformations.product_tiles import model_of
from kopt.rewrite.transformations.products.descriptors import stand_ins
from tests.rewrite import more_samples, samples
from tests.rewrite.judge import apply, judged

SEED = samples.sources()["gemma3_swiglu"]
WIDE = apply("wide_product", SEED, 1) or ""
LARGE = WIDE.replace("= 64, 64, 32", "= 128, 128, 64").replace("num_warps=4, num_stages=2", "num_warps=8, num_stages=3")


def launched(rows: int, columns: int = 24576) -> Launch:
    """A launch of the seed kernel on as many rows and columns."""
    sizes = {"M": rows, "N": columns, "K": 3072}
    return Launch(
        kernel="swiglu_kernel", grid=(-(-rows // 64), columns // 64, 1), num_warps=4, num_stages=2, num_ctas=1,
        shared_bytes=0, registers=0, spills=0, signature=(), arguments=tuple((k, str(v)) for k, v in sizes.items()),
    )  # fmt: skip


def facts(*launches: Launch) -> RewriteFacts:
    return samples.facts().model_copy(update={"launches": launches})


def module(source: str) -> TritonModule:
    parsed = parse(source)
    assert parsed is not None
    return parsed


def changes(move: str, source: str, known: RewriteFacts, *kernels: str) -> list[str]:
    """What a move makes of a source with several draws, in kernels of these names alone if any is named."""
    parsed = module(source)
    sites = TRANSFORMATIONS[move].sites(parsed, known)
    found = [site.apply(Random(seed)) for seed in range(6) for site in sites]
    return [change.source for change in found if change is not None and all(k in change.description for k in kernels)]


def columns_and_a_half(source: str) -> str:
    """Tiles of one and a half times as many columns."""
    return changes("uneven_tile", source, samples.facts(), "along BLOCK_N")[0]


@pytest.mark.parametrize(("rows", "block", "tiles"), [(512, 256, 384), (128, 256, 192), (128, 128, 192)])
def test_a_tile_that_is_taller_than_the_matrix_still_counts_once(rows, block, tiles):
    parsed = module(LARGE)
    literals = {c.name: c.literal for c in parsed.constants}
    assert count_tiles(parsed.launches[0], parsed, facts(launched(rows)), {literals["BLOCK_M"]: block}) == tiles


def test_the_model_prefers_wide_tiles_for_many_rows_and_tall_ones_never_for_few():
    model = {rows: model_of(module(WIDE), module(WIDE).kernels[0], facts(launched(rows))) for rows in (512, 128)}
    assert min(model[512].time(v) for v in ((64, 64, 64), (64, 32, 64), (32, 64, 64))) > model[512].time((128, 128, 64))
    assert model[128].time((256, 64, 64)) > 1.3 * model[128].time((128, 128, 64))
    assert model[512].time((256, 256, 64)) == float("inf")


def test_the_model_counts_however_many_launches_there_are():
    model = model_of(module(LARGE), module(LARGE).kernels[0], facts(*[launched(512)] * 400))
    one = model_of(module(LARGE), module(LARGE).kernels[0], facts(launched(512)))
    values = [constant.value for constant in model.constants]
    assert model.time(values) == pytest.approx(one.time(values))


def test_operands_of_all_products_of_a_step_take_shared_memory():
    single, wide = (model_of(module(s), module(s).kernels[0], facts(launched(512))) for s in (SEED, WIDE))
    assert single.stages((128, 128, 64)) == wide.stages((128, 128, 64)) == 4
    assert single.stages((128, 128, 128)) == 2


@pytest.mark.parametrize("move", ["flat_tiles", "persistent_grid"])
def test_a_launch_without_a_second_tile_for_any_multiprocessor_gets_no_loop_over_tiles(move):
    assert TRANSFORMATIONS[move].sites(module(SEED), facts(launched(512)))
    assert not TRANSFORMATIONS[move].sites(module(SEED), facts(launched(128, 64 * 60)))


def test_tiles_that_descriptors_bring_are_known_by_the_launch():
    described = apply("host_descriptors", WIDE, 1)
    assert described is not None
    (kernel,) = (k for k in module(described).kernels if k.name == "swiglu_kernel_described")
    assert kernel.tiles["x_desc"] == ("BLOCK_M", "BLOCK_K")
    assert kernel.tiles["gate_up_desc"] == ("2", "BLOCK_N", "BLOCK_K")


@pytest.mark.parametrize("moves", [("host_descriptors",), ("uneven_tile",), ("uneven_tile", "host_descriptors")])
def test_the_tile_of_a_kernel_can_change_after_its_structure_has_changed(moves):
    source = WIDE
    for move in moves:
        source = apply(move, source, 1) or ""
    assert changes("tile_shape", source, samples.facts(), *(["_described"] if "host_descriptors" in moves else []))


def test_what_descriptors_do_not_bring_yet_is_described_later():
    (first, *_) = (s for s in changes("host_descriptors", WIDE, samples.facts()) if "out_desc" not in s)
    (second, *_) = changes("host_descriptors", first, samples.facts(), "swiglu_kernel_described")
    assert "swiglu_kernel_described_2" in second
    assert "out_desc.store(" in second
    assert judged([("gemma3_swiglu", "described twice", second)]) == {}


def test_loads_alone_are_described_where_stores_in_the_loop_leave_too_little_shared_memory():
    source = apply("flat_tiles", columns_and_a_half(LARGE), 1) or ""
    made = changes("host_descriptors", source, samples.facts())
    assert made
    assert all("_desc.load(" in each and "_desc.store(" not in each for each in made)


def test_each_step_that_is_unrolled_takes_shared_memory_of_its_own():
    unrolled = LARGE.replace("in range(0, K, BLOCK_K)", "in tl.range(0, K, BLOCK_K, loop_unroll_factor=2)")
    assert unrolled != LARGE
    assert plausible(module(LARGE), samples.facts())
    assert not plausible(module(unrolled), samples.facts())
    assert plausible(module(unrolled.replace("num_stages=3", "num_stages=2")), samples.facts())


def test_stores_by_descriptors_in_a_loop_take_shared_memory_of_their_own():
    """The loop stages 196608 bytes, and stores tiles of 32768 and 16384: this failed on a GPU with 232448."""
    smaller = columns_and_a_half(LARGE.replace("num_stages=3", "num_stages=2"))
    made = changes("host_descriptors", apply("flat_tiles", smaller, 1) or "", samples.facts())
    described = next(s for s in made if "out_desc.store(" in s and "out_desc_2.store(" in s)
    assert plausible(module(described), samples.facts())
    assert not plausible(module(described.replace("num_stages=2", "num_stages=3")), samples.facts())


def test_a_loop_is_pipelined_in_more_stages_than_it_has():
    texts = changes("pipeline_loop", LARGE, samples.facts())
    assert texts
    assert not any(f"num_stages={n})" in text for text in texts for n in (2, 3))


def test_a_design_that_has_paid_gets_a_tile_for_each_size():
    described = apply("host_descriptors", columns_and_a_half(LARGE), 1) or ""
    known = facts(*(launched(m).model_copy(update={"kernel": "swiglu_kernel_described"}) for m in (512, 128)))
    focus = replace(module(described), kernels=module(described).kernels[1:], left_out=frozenset({"swiglu_kernel"}))
    (site,) = TRANSFORMATIONS["tiles_by_size"].sites(focus, known)
    made = [change.description for seed in range(4) if (change := site.apply(Random(seed))) is not None]
    assert made
    assert any("product tiles" in each and "in swiglu_kernel_described_up_to_128" in each for each in made)


def test_a_proposal_leaves_kernels_alone_that_stand_in_for_described_ones():
    described = apply("host_descriptors", LARGE, 1) or ""
    assert stand_ins(module(described)) == {"swiglu_kernel"}
    again = changes("host_descriptors", described, samples.facts(), "swiglu_kernel_described")
    assert all(stand_ins(module(each)) == {"swiglu_kernel", "swiglu_kernel_described"} for each in again)
    assert stand_ins(module(LARGE)) == frozenset()


def test_a_kernel_that_stands_in_takes_the_stages_of_the_tile_that_it_shares():
    described = apply("host_descriptors", columns_and_a_half(LARGE), 1) or ""
    for changed in changes("tile_shape", described, samples.facts(), "swiglu_kernel_described"):
        stages = {option(launch, "num_stages", 0, module(changed)) for launch in module(changed).launches}
        assert len(stages) == 1


def test_a_design_by_descriptors_is_made_once():
    described = next(s for s in changes("host_descriptors", LARGE, samples.facts()) if "out_desc" not in s)
    launched_one = replace(module(described), kernels=module(described).kernels[1:])
    assert TRANSFORMATIONS["host_descriptors"].sites(launched_one, samples.facts())
    assert TRANSFORMATIONS["described_product"].sites(module(LARGE), samples.facts())
    assert not TRANSFORMATIONS["described_product"].sites(launched_one, samples.facts())


EXACT = more_samples.EXACT


@pytest.mark.parametrize("parameter", ["num_stages", "num_warps"])
def test_a_tile_repeats_no_word_that_a_kernel_takes_itself(parameter):
    source = EXACT.replace("BK: tl.constexpr", f"BK: tl.constexpr, {parameter}: tl.constexpr").replace(
        "BK=16)", f"BK=16, {parameter}=2)"
    )
    made = changes("tile_shape", source, samples.facts())
    assert made
    for each in made:
        ast.parse(each)
        assert each.count(f"{parameter}=") == 1
