"""Every transformation keeps the result of a kernel, on even and ragged shapes, in the Triton interpreter."""

import json
import subprocess
import sys
from functools import cache
from random import Random

import pytest

from kopt.rewrite.catalogue import TRANSFORMATIONS
from kopt.rewrite.propose import propose
from kopt.rewrite.source.module import parse
from tests.rewrite import samples

AFTER = {
    "split_width": "split_k",
    "persistent_count": "persistent_grid",
    "flatten_loop": "persistent_grid",
    "group_size": "grid_swizzle",
    "pipelined_rows": "whole_row",
}
"""Transformations that change what another has made, with that other one."""


def apply(transformation: str, source: str, seed: int) -> str | None:
    module = parse(source)
    assert module is not None
    for site in TRANSFORMATIONS[transformation].sites(module, samples.facts()):
        change = site.apply(Random(seed))
        if change is not None:
            return change.source
    return None


@cache
def chains() -> list[tuple[str, str, str]]:
    """Every transformation once, on the first kernel that it applies to, alone or after the one that makes it apply."""
    found = []
    for seed, transformation in enumerate(TRANSFORMATIONS):
        for name, source in samples.sources().items():
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


def judged(jobs: list[tuple[str, str, str]]) -> dict[str, str]:
    answer = subprocess.run(
        [sys.executable, "-m", "tests.rewrite.judge"],
        input=json.dumps(jobs),
        capture_output=True,
        text=True,
        cwd=samples.ROOT,
        check=False,
    )
    assert answer.returncode == 0, answer.stderr[-2000:]
    failed: dict[str, str] = json.loads(answer.stdout.splitlines()[-1])
    return failed


@pytest.mark.xdist_group("rewrites")
def test_every_transformation_applies_to_some_kernel():
    assert [transformation for _, transformation, _ in chains()] == list(TRANSFORMATIONS)


@pytest.mark.xdist_group("rewrites")
def test_every_transformation_and_stacks_of_them_keep_the_result():
    assert judged([*chains(), *stacked()]) == {}


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
