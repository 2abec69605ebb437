"""Numbers of a source are read and set; the tuner finds good ones with few times."""

import math

import pytest

from kopt.artifact import text_digest
from kopt.rewrite.experience import Tried
from kopt.rewrite.propose import propose
from kopt.rewrite.source.module import parse
from kopt.rewrite.transformation import RewriteFacts
from kopt.rewrite.tunables import numbers, read_rows, set_values, tunables
from kopt.rewrite.tune import TUNED, other_numbers, tune
from tests.rewrite import samples

SOURCES = samples.sources()
FACTS = samples.facts()


def proposals(name, count=3):
    """A source and some that the rewriter made of it, one after the other."""
    source = SOURCES[name]
    yield source
    for seed in range(count):
        made = propose(source, direction=samples.direction(), facts=FACTS, seed=seed, exclude=set())
        source = made.source
        yield source


@pytest.mark.parametrize("name", sorted(SOURCES))
def test_numbers_that_are_set_are_read_again_and_leave_the_sketch(name):
    for source in proposals(name):
        module = parse(source)
        before = numbers(module, FACTS)
        assert read_rows(before.rows()) == dict(before.values)
        for pick in (0, -1):
            wanted = {each.name: each.others[pick] for each in tunables(module, FACTS) if each.others}
            after = numbers(parse(set_values(module, FACTS, wanted)), FACTS)
            assert after.sketch == before.sketch
            assert after.values == {**before.values, **wanted}
        assert set_values(module, FACTS, {}) == source


def test_another_sketch_has_another_digest():
    sketches = {numbers(parse(source), FACTS).sketch for source in SOURCES.values()}
    assert len(sketches) == len(SOURCES)


def run_tuner(source, cost, rounds, slots):
    """Tune as a search does, some proposals at a time; return the numbers tried, best cost last."""
    tried, seen, parent = [], set(), source

    def judged(text):
        found = numbers(parse(text), FACTS)
        return Tried(
            kernel=text_digest(text), parent=text_digest(source), sketch=found.sketch, numbers=found.rows(),
            outcome="passed", time_ms=cost(found.values),
        )  # fmt: skip

    tried.append(judged(source))
    sources = {tried[0].kernel: source}
    for _ in range(rounds):
        made = []
        for _ in range(slots):
            pending = [numbers(parse(text), FACTS) for text in made]
            rewrite = other_numbers(parent, facts=FACTS, tried=tried, pending=pending, exclude=seen)
            if rewrite is None:
                continue
            assert rewrite.transformations == (TUNED,)
            assert "ms expected after" in rewrite.description
            made.append(rewrite.source)
            seen.add(text_digest(rewrite.source))
        assert len(set(made)) == len(made)
        for text in made:
            tried.append(judged(text))
            sources[tried[-1].kernel] = text
        parent = sources[min(tried, key=lambda each: each.time_ms).kernel]
    return tried


def bowl(**best):
    """A cost with its least value at some numbers, 4 % more for each factor of two squared."""

    def cost(values):
        named = {name.rpartition(".")[2]: value for name, value in values.items()}
        return math.exp(sum(0.04 * math.log2(named[name] / wanted) ** 2 for name, wanted in best.items()))

    return cost


@pytest.mark.parametrize(
    ("name", "best"),
    [
        ("softmax", {"BLOCK": 4096, "num_warps": 8}),
        ("softmax", {"BLOCK": 256, "num_warps": 2}),
        ("gemma3_swiglu", {"BLOCK_M": 128, "BLOCK_N": 64, "num_warps": 8, "num_stages": 4}),
    ],
)
def test_the_tuner_finds_the_best_numbers_with_a_dozen_times(name, best):
    tried = run_tuner(SOURCES[name], bowl(**best), rounds=4, slots=3)
    assert min(each.time_ms for each in tried) < 1.05
    assert tried[0].time_ms > 1.1


def test_a_sketch_without_a_time_is_not_tuned():
    assert other_numbers(SOURCES["softmax"], facts=FACTS, tried=[], exclude=set()) is None
    assert tune("not Python (", turn=0, facts=FACTS, tried=[], exclude=set()) is None


def test_numbers_near_a_failure_are_left_alone():
    """Where every larger block failed, the next proposals are no larger block."""
    source = SOURCES["softmax"]
    found = numbers(parse(source), FACTS)
    parent = Tried(
        kernel=text_digest(source), parent="", sketch=found.sketch, numbers=found.rows(), outcome="passed",
        time_ms=1.0,
    )  # fmt: skip
    failed = [
        Tried(
            kernel=str(block), parent=parent.kernel, sketch=found.sketch, outcome="failed",
            numbers=tuple(row.replace("BLOCK=1024", f"BLOCK={block}") for row in found.rows()),
        )
        for block in (2048, 4096, 8192)
    ]  # fmt: skip
    seen: set[str] = set()
    for _ in range(3):
        made = other_numbers(source, facts=FACTS, tried=[parent, *failed], exclude=seen)
        assert numbers(parse(made.source), FACTS).values["softmax_kernel.BLOCK"] <= 1024
        seen.add(text_digest(made.source))


def test_a_kernel_that_is_not_launched_is_not_tuned():
    """Of the two kernels of rmsnorm's sample and softmax's, only launched ones have numbers worth a time."""
    source = SOURCES["softmax"] + SOURCES["matvec"].replace("def kernel_function", "def other_function")
    found = numbers(parse(source), FACTS)
    parent = Tried(
        kernel=text_digest(source), parent="", sketch=found.sketch, numbers=found.rows(), outcome="passed",
        time_ms=1.0,
    )  # fmt: skip
    launch = FACTS.launches[0].model_copy(update={"kernel": "matvec_kernel"})
    facts = RewriteFacts(launches=(launch,), device=FACTS.device, workloads=FACTS.workloads)
    made = other_numbers(source, facts=facts, tried=[parent], exclude=set())
    assert "softmax_kernel" not in made.description
