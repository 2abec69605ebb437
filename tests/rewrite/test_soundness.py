"""Every transformation keeps the result of a kernel, on even and ragged shapes, in the Triton interpreter."""

from functools import cache

import pytest

from kopt.rewrite.catalogue import TRANSFORMATIONS
from kopt.rewrite.propose import propose
from tests.rewrite import more_samples, samples
from tests.rewrite.judge import apply, judged
from tests.rewrite.test_structure import APPLIES

AFTER = {
    "split_width": "split_k",
    "persistent_count": "persistent_grid",
    "flatten_loop": "persistent_grid",
    "group_size": "grid_swizzle",
    "pipelined_rows": "whole_row",
    "kept_values": "whole_row",
}
"""Transformations that change what another has made, with that other one."""


@cache
def chains() -> list[tuple[str, str, str]]:
    """Every transformation once, on the first kernel that it applies to, alone or after the one that makes it apply."""
    found = []
    more = {name: problem.seed.source for name, problem in more_samples.problems().items()}
    for seed, transformation in enumerate(TRANSFORMATIONS):
        for name, source in (samples.sources() | more).items():
            start = apply(AFTER[transformation], source, seed) if transformation in AFTER else source
            changed = apply(transformation, start, seed) if start else None
            if changed is not None and changed != start:
                found.append((name, transformation, changed))
                break
    return found


def stacked() -> list[tuple[str, str, str]]:
    """A proposal of a proposal of a proposal, per kernel."""
    found = []
    for number, (name, source) in enumerate(samples.sources().items()):
        steps = []
        for step in range(3):
            rewrite = propose(source, direction=samples.direction(), facts=samples.facts(), seed=number, exclude=set())
            assert rewrite is not None
            source = rewrite.source
            steps.append(f"{step}: {rewrite.description}")
        found.append((name, "; ".join(steps), source))
    return found


@pytest.mark.xdist_group("rewrites")
def test_every_transformation_applies_to_some_kernel():
    assert [transformation for _, transformation, _ in chains()] == list(TRANSFORMATIONS)


@pytest.mark.xdist_group("rewrites")
def test_every_transformation_and_stacks_of_them_keep_the_result():
    """Moves that change the whole structure are judged on more kernels in `test_structure`."""
    assert judged([*(chain for chain in chains() if chain[1] not in APPLIES), *stacked()]) == {}


@pytest.mark.parametrize(
    ("move", "kernel"), [("hoist_reduction", "matvec"), ("split_k", "product"), ("atomic_split_k", "product")]
)
@pytest.mark.parametrize("start", ["tl.zeros((BM, BN), dtype=tl.int32)", "tl.full((BM, BN), 0, tl.float64)", "0"])
def test_sums_of_other_types_than_float32_stay_as_they_are(move, kernel, start):
    source = samples.sources()[kernel]
    for zero in ("acc = 0.0", "acc = tl.zeros((BM, BN), dtype=tl.float32)"):
        source = source.replace(zero, f"acc = {start}")
    assert apply(move, samples.sources()[kernel], 1)
    assert apply(move, source, 1) is None
