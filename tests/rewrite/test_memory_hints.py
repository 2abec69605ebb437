"""A load or store has one hint: ptxas refuses an eviction policy beside most cache modifiers."""

import ast
from random import Random

import pytest

from kopt.rewrite.source.module import parse
from kopt.rewrite.transformations.memory_hints import HINTS, TRANSFORMATIONS
from tests.rewrite import samples


def hints(source):
    """The names of the hints of each load and store."""
    calls = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Call)]
    return [[word.arg for word in call.keywords if word.arg in HINTS] for call in calls]


@pytest.mark.parametrize("one", TRANSFORMATIONS, ids=lambda one: one.name)
@pytest.mark.parametrize("given", ["", ', eviction_policy="evict_first"', ', cache_modifier=".cg"'])
def test_hints_on_hints_never_stand_together(one, given):
    source = samples.PRODUCT.replace("other=0.0)", f"other=0.0{given})")
    changed = 0
    for seed in range(30):
        for site in one.sites(parse(source), samples.facts()):
            if change := site.apply(Random(seed)):
                changed += change.source != source
                source = change.source
        assert all(len(names) <= 1 for names in hints(source))
    assert changed > 3


def test_a_load_whose_author_gave_both_stays():
    both = "other=0.0, cache_modifier='.ca', eviction_policy='evict_last')"
    source = samples.PRODUCT.replace("other=0.0)", both)
    (load_hint, _) = TRANSFORMATIONS
    assert all(site.apply(Random(1)) is None for site in load_hint.sites(parse(source), samples.facts()))


def test_loads_that_are_one_after_compilation_get_the_same_hint():
    """With a hint on one of them alone, the compiler would load twice."""
    line = "    b = tl.load(b_ptr + offs, mask=offs < K, other=0.0)\n"
    source = samples.ROWSUM.replace("    tl.store(", "    offs = tl.arange(0, BLOCK)\n" + 2 * line + "    tl.store(")
    (load_hint, _) = TRANSFORMATIONS
    changes = [site.apply(Random(0)) for site in load_hint.sites(parse(source), samples.facts())]
    counts = [len([one for one in hints(change.source) if one]) for change in changes]
    assert sorted(counts) == [1, 1, 1, 2, 2], "the equal load inside of the loop stands for itself"
