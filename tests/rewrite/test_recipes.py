"""Recipes put whole designs together, which build and keep the result; moves that cannot hold offer no site."""

from random import Random

import pytest

from kopt.rewrite.catalogue import TRANSFORMATIONS
from kopt.rewrite.experience import Factor
from kopt.rewrite.limits import plausible
from kopt.rewrite.propose import propose
from kopt.rewrite.source.module import parse
from tests.rewrite import more_samples, samples
from tests.rewrite.judge import apply, judged

FACTS = samples.facts()
DRAWN = (
    ("persistent_product", "gemma3_swiglu"),
    ("persistent_product", "twin"),
    ("described_product", "gemma3_swiglu"),
    ("axis_in_registers", "channel_softmax"),
)
"""Recipes, each with a kernel that it is drawn on, beside those of `test_soundness`."""


def sources() -> dict[str, str]:
    made = samples.problems() | more_samples.problems()
    return {name: problem.seed.source for name, problem in made.items()}


@pytest.mark.xdist_group("rewrites")
def test_recipes_keep_the_results():
    drawn = [(kernel, recipe, apply(recipe, sources()[kernel], 1)) for recipe, kernel in DRAWN]
    assert all(source for _, _, source in drawn)
    assert judged([(kernel, recipe, source) for kernel, recipe, source in drawn if source]) == {}


def test_a_proposal_names_the_steps_of_a_recipe_after_it():
    source = sources()["rmsnorm"]
    only = {name: Factor(float(name == "axis_in_registers"), 1.0) for name in TRANSFORMATIONS}
    made = [
        propose(source, direction=samples.direction(), facts=FACTS, seed=seed, exclude=set(), factors=only)
        for seed in range(4)
    ]
    assert all(each.transformations[:3] == ("axis_in_registers", "whole_axis", "shared_reciprocal") for each in made)
    assert {each.transformations[3] for each in made} <= {"grid_order", "pipelined_rows"}


def test_a_flat_loop_with_the_widest_tile_is_plausible():
    source = sources()["gemma3_swiglu"].replace("= 64, 64, 32", "= 128, 128, 64")
    source = source.replace("num_warps=4, num_stages=2", "num_warps=8, num_stages=4")
    for move in ("wide_product", "flat_tiles", "output_halves"):
        source = apply(move, source, 1)
        assert source is not None, move
    assert plausible(parse(source), FACTS)
    assert not plausible(parse(source.replace("= 128, 128, 64", "= 128, 256, 64")), FACTS)


@pytest.mark.parametrize(
    ("move", "kernel", "old", "new"),
    [
        ("host_descriptors", "product", "] < ", "] <= "),
        ("host_descriptors", "product", "N + offs_n[None, :]", "N + 2 * offs_n[None, :]"),
        ("uneven_tile", "product", "pid_n * BN", "(7 - pid_n) * BN"),
        ("output_halves", "product", "= pid_n * BN", "= tl.load(b_ptr) * 0 + pid_n * BN"),
        ("transposed_product", "product", "tl.zeros((BM, BN), ", "tl.full((BM, BN), 1.0, "),
        ("staggered_loop", "matvec", "acc += tl.sum(", "acc = 0.5 * acc + tl.sum("),
        ("shared_reciprocal", "softmax", "tl.float32", "tl.float64"),
        ("design_by_size", "gemma3_swiglu", "M = flat.shape[0]", "M = flat.shape[0]\n    M = M + 0"),
    ],
)
def test_a_move_offers_no_site_where_a_condition_fails(move: str, kernel: str, old: str, new: str):
    source = sources()[kernel]
    before, after = (_offers(move, text) for text in (source, source.replace(old, new)))
    assert old in source
    assert after < before


def _offers(move: str, source: str) -> int:
    """Count what a move can change: the accesses that become descriptors' if it is that move, else its sites."""
    sites = TRANSFORMATIONS[move].sites(parse(source), FACTS)
    if move != "host_descriptors":
        return len(sites)
    changed = [change.source for seed in range(8) for site in sites if (change := site.apply(Random(seed)))]
    return max((text.count("_desc.load(") + text.count("_desc.store(") for text in changed), default=0)
