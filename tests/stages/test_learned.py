"""Candidates say what made them, and what earlier rounds found decides what is proposed."""

import pytest

from kopt.jobs.kernels import kernel_source, put_kernel
from kopt.jobs.rewriter import NOTHING_LEARNED, Learned
from kopt.model.kernel import Slot
from kopt.model.problem import ProblemFacts
from kopt.model.proposers import REWRITER
from kopt.model.trial import SelectionRow
from kopt.rewrite.catalogue import TRANSFORMATIONS, names
from kopt.rewrite.experience import Experience, Tried
from kopt.rewrite.source.module import parse
from kopt.rewrite.transformation import RewriteFacts
from kopt.rewrite.tunables import numbers
from kopt.rewrite.tune import TUNED
from kopt.stages.generate import AttemptContext, FailedCandidate, generate
from kopt.store import Store
from tests.rewrite import samples

FACTS = samples.facts()
SOURCE = samples.sources()["softmax"]
SLOTS = [Slot(slot=n, parent="", parent_rank=0, bottleneck=1, model=REWRITER, sample=n) for n in range(12)]


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path)


def proposed(store, learned=NOTHING_LEARNED, attempt=0, earlier=(), failed=None, slots=SLOTS):
    parent = put_kernel(SOURCE, store)
    row = SelectionRow(
        rank=0, kernel=parent, fingerprint="", origin="r0a0s0", model="seed", time_ms=1.0, estimated=True,
        roofline_share=0.5, techniques=(), cluster="none",
    )  # fmt: skip
    context = AttemptContext(
        round=2, attempt=attempt, seed=0, parents={parent: row}, directions={(parent, 1): samples.direction()},
        facts=ProblemFacts(dtype="bfloat16", workloads=FACTS.workloads), device=FACTS.device, store=store,
        learned=learned,
    )  # fmt: skip
    mine = [slot.model_copy(update={"parent": parent}) for slot in slots]
    return generate(mine, context, earlier=earlier, failed=failed or {})


def tried(store, move, gain):
    read = numbers(parse(SOURCE), RewriteFacts(device=FACTS.device))
    parent = put_kernel(SOURCE, store)
    seed = Tried(
        kernel=parent, parent="", outcome="passed", time_ms=1.0, sketch=read.sketch, numbers=read.rows()
    )  # fmt: skip
    children = [
        Tried(kernel=f"{move}{n}", parent=parent, moves=(move,), outcome="passed", time_ms=1.0, gain=gain)
        for n in range(6)
    ]
    return Experience((seed, *children))


def test_a_candidate_names_its_transformations_and_its_numbers(store):
    for candidate in proposed(store):
        assert candidate.moves
        assert set(candidate.moves) <= set(names())
        read = numbers(parse(kernel_source(candidate.kernel, store)), RewriteFacts(device=FACTS.device))
        assert (candidate.sketch, candidate.numbers) == (read.sketch, read.rows())


def test_what_paid_is_proposed_more_often(store):
    def share(gain):
        made = proposed(store, Learned(tried(store, "store_hint", gain), frozenset()))
        return sum("store_hint" in candidate.moves for candidate in made)

    assert share(0.4) >= 5 > 1 >= share(-0.4)


def test_the_same_experience_gives_the_same_candidates(store, tmp_path):
    learned = Learned(tried(store, "load_hint", 0.1), frozenset({1, 4}))
    assert proposed(store, learned) == proposed(Store(tmp_path / "other"), learned) == proposed(store, learned)
    assert proposed(store, learned) != proposed(store)


def test_tuned_slots_change_different_numbers_or_other_small_things_in_turn(store):
    before = numbers(parse(SOURCE), FACTS)
    made = proposed(store, Learned(tried(store, "load_hint", 0.0), frozenset({0, 2, 3, 4, 5})))
    tuned = [candidate for candidate in made if candidate.moves == (TUNED,)]
    assert [candidate.slot for candidate in tuned] == [0, 3, 5]
    assert len({candidate.numbers for candidate in tuned}) == 3
    assert {candidate.sketch for candidate in tuned} == {before.sketch}
    for refined in (made[2], made[4]):
        assert all(TRANSFORMATIONS[move].refines for move in refined.moves)
        assert refined.sketch != before.sketch


def test_one_slot_of_each_parent_refines_it_in_turn_too():
    turns = [Learned(Experience(), frozenset({1, 3, 5, 7})).turn(slot, 2) for slot in range(8)]
    assert turns == [None, 2, None, 3, None, 4, None, 5]


def test_a_slot_that_cannot_tune_rewrites(store):
    """Nothing has a time yet."""
    (candidate,) = proposed(store, Learned(Experience(), frozenset({0})), slots=SLOTS[:1])
    assert TUNED not in candidate.moves
    assert candidate.kernel


def test_a_failed_kernel_that_was_made_lighter_keeps_its_own_transformations_too(store):
    heavy = SOURCE.replace("BLOCK=1024", "BLOCK=32768")
    (first,) = proposed(store, slots=SLOTS[:1])
    first = first.model_copy(update={"kernel": put_kernel(heavy, store), "moves": ("whole_row",)})
    failed = {0: FailedCandidate(first.kernel, "resources", "shared memory", "build")}
    (repaired,) = proposed(store, attempt=1, earlier=[first], failed=failed, slots=SLOTS[:1])
    assert repaired.moves[0] == "whole_row"
    assert len(repaired.moves) > 1
    other = {0: FailedCandidate(first.kernel, "compile", "no tl.dot", "build")}
    (anew,) = proposed(store, attempt=1, earlier=[first], failed=other, slots=SLOTS[:1])
    assert anew.moves[0] != "whole_row"
