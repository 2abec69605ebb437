"""A proposal is valid Python, new, and a function of its arguments."""

import ast
import os
import subprocess
import sys
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kopt.artifact import text_digest
from kopt.rewrite.catalogue import TRANSFORMATIONS, names
from kopt.rewrite.propose import propose, repair
from kopt.rewrite.source.module import parse
from tests.rewrite import samples

SOURCES = samples.sources()
FACTS = samples.facts()


FEW = settings(max_examples=settings().max_examples // 4)
"""A proposal takes a quarter of a second."""


@FEW
@given(name=st.sampled_from(sorted(SOURCES)), seed=st.integers(0, 10**6))
def test_the_same_arguments_give_the_same_proposal(name, seed):
    first, second = (
        propose(SOURCES[name], direction=samples.direction(), facts=FACTS, seed=seed, exclude=set()) for _ in range(2)
    )
    assert first == second


@pytest.mark.parametrize("name", sorted(SOURCES))
def test_a_site_may_be_applied_again(name):
    """Proposals for one parent share its sites."""
    module = parse(SOURCES[name])
    sites = [site for each in TRANSFORMATIONS.values() for site in each.sites(module, FACTS)]
    assert sites
    for site in sites:
        assert site.apply(Random(5)) == site.apply(Random(5))


def test_a_proposal_does_not_depend_on_the_hash_seed():
    script = (
        "from tests.rewrite import samples; from kopt.rewrite.propose import propose;"
        "print([propose(s, direction=samples.direction(), facts=samples.facts(), seed=3, exclude=set()).source"
        " for s in list(samples.sources().values())[:3]])"
    )
    answers = {
        subprocess.run(
            [sys.executable, "-c", script], capture_output=True, check=True, cwd=samples.ROOT,
            env={**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": str(samples.ROOT)},
        ).stdout
        for seed in ("1", "2")
    }  # fmt: skip
    assert len(answers) == 1


@pytest.mark.parametrize("name", sorted(SOURCES))
def test_proposals_are_all_new_and_parse(name):
    seen = {text_digest(SOURCES[name])}
    for seed in range(6):
        rewrite = propose(SOURCES[name], direction=samples.direction(), facts=FACTS, seed=seed, exclude=seen)
        assert rewrite is not None
        assert text_digest(rewrite.source) not in seen
        assert set(rewrite.transformations) <= set(names())
        assert rewrite.description
        ast.parse(rewrite.source)
        seen.add(text_digest(rewrite.source))


@pytest.mark.parametrize("name", sorted(SOURCES))
def test_proposals_can_stand_on_each_other(name):
    source, seen = SOURCES[name], {text_digest(SOURCES[name])}
    for seed in range(3):
        rewrite = propose(source, direction=samples.direction(), facts=FACTS, seed=seed, exclude=seen)
        assert rewrite is not None
        source = rewrite.source
        seen.add(text_digest(source))


def test_a_technique_of_the_direction_is_likelier():
    def share(*techniques):
        made = [
            propose(SOURCES["matvec"], direction=samples.direction("none", *techniques), facts=FACTS, seed=seed,
                    exclude=set())
            for seed in range(24)
        ]  # fmt: skip
        return sum("split_k" in rewrite.transformations for rewrite in made if rewrite)

    assert share("split_k_reduce") > share("autotuned_config")


@pytest.mark.parametrize(
    "source",
    [
        "",
        "x = 1",
        "def broken(:",
        "import triton\nimport triton.language as tl\n",
        "\x00",
        "@triton.jit\ndef f(*a): pass",
    ],
)
def test_nothing_is_proposed_for_what_is_no_triton_kernel(source):
    assert propose(source, direction=samples.direction(), facts=FACTS, seed=1, exclude=set()) is None


@FEW
@given(name=st.sampled_from(sorted(SOURCES)), data=st.data())
def test_odd_sources_never_raise(name, data):
    lines = SOURCES[name].split("\n")
    first = data.draw(st.integers(0, len(lines) - 1))
    count = data.draw(st.integers(1, 3))
    source = "\n".join(lines[:first] + lines[first + count :])
    propose(source, direction=samples.direction(), facts=FACTS, seed=1, exclude=set())


def test_a_repair_is_neither_the_failed_source_nor_its_parent():
    parent = SOURCES["softmax"]
    failed = propose(parent, direction=samples.direction(), facts=FACTS, seed=1, exclude=set())
    assert failed is not None
    for phase in ("compile", "incorrect", "resources"):
        again = repair(
            failed.source, parent=parent, reason="no", phase=phase, direction=samples.direction(), facts=FACTS, seed=1,
            exclude=set(),
        )  # fmt: skip
        assert again is not None
        assert again.source not in (failed.source, parent)


def test_a_repair_after_a_lack_of_resources_asks_for_less():
    from kopt.rewrite.limits import footprint
    from kopt.rewrite.source.module import parse

    parent = SOURCES["gemma3_swiglu"]
    failed = parent.replace("64, 64, 32", "256, 256, 128")
    again = repair(
        failed, parent=parent, reason="shared memory", phase="resources", direction=samples.direction(), facts=FACTS,
        seed=1, exclude=set(),
    )  # fmt: skip
    assert again is not None
    assert footprint(parse(again.source), FACTS) < footprint(parse(failed), FACTS)


def test_every_transformation_is_described():
    assert names() == tuple(TRANSFORMATIONS)
    assert len(names()) >= 16
    assert all(each.description and each.bottlenecks for each in TRANSFORMATIONS.values())
