"""What became of the candidates of earlier rounds, joined for the rewriter to learn from."""

import math

import pytest

from kopt.jobs.tried import tried_before
from kopt.model.kernel import Candidate, ProposalStatus
from kopt.model.trial import BuildRow, EvaluationRow


def candidate(round, slot, kernel, parent="", attempt=0, **others):
    return Candidate(
        round=round, attempt=attempt, slot=slot, parent=parent, bottleneck=1, model="kopt-rewrite", sample=0,
        status=ProposalStatus.PROPOSED, kernel=kernel, **others,
    )  # fmt: skip


def build(of, fingerprint, duplicate_of=""):
    place = of.model_dump(include={"round", "attempt", "slot", "kernel"})
    status = "built" if fingerprint else "failed"
    return BuildRow(**place, status=status, fingerprint=fingerprint, duplicate_of=duplicate_of)


def evaluation(of, time_ms, verdict="passed"):
    place = of.model_dump(include={"round", "attempt", "slot", "kernel"})
    share = 0.5 if verdict == "passed" else None
    return EvaluationRow(
        **place, fingerprint="", verdict=verdict, judge="test", time_ms=time_ms, roofline_share=share
    )  # fmt: skip


SEED = candidate(0, 0, "seed")
FASTER = candidate(1, 0, "faster", "seed", moves=("split_k",), sketch="s", numbers=("k.BLOCK=64",))
COPY = candidate(1, 1, "copy", "seed", moves=("load_hint",))
TWIN = candidate(1, 2, "twin", "seed", moves=("split_k", "even_flag"))
BROKEN = candidate(1, 3, "broken", "seed", moves=("warps",))
WRONG = candidate(1, 4, "wrong", "seed", moves=("stages",))
SKIPPED = candidate(1, 5, "skipped", "seed", moves=("tile_size",))
NOTHING = candidate(1, 6, "")
LATER = candidate(2, 0, "later", "faster", moves=("warps",))
CANDIDATES = [LATER, NOTHING, SKIPPED, WRONG, BROKEN, TWIN, COPY, FASTER, SEED]
BUILDS = [
    build(SEED, "f0"), build(FASTER, "f1"), build(COPY, "f0"), build(TWIN, "f1", "r1a0s0"), build(BROKEN, ""),
    build(WRONG, "f2"), build(SKIPPED, "f3"), build(LATER, "f4"),
]  # fmt: skip
EVALUATIONS = [
    evaluation(SEED, 2.0), evaluation(FASTER, 1.0), evaluation(COPY, 2.1), evaluation(WRONG, None, "incorrect"),
    evaluation(SKIPPED, None, "screened"), evaluation(LATER, 0.5),
]  # fmt: skip


@pytest.fixture(scope="module")
def tried():
    return {each.kernel: each for each in tried_before(2, CANDIDATES, BUILDS, EVALUATIONS)}


def test_earlier_rounds_alone_count_in_order_of_their_slots(tried):
    assert list(tried) == ["seed", "faster", "copy", "twin", "broken", "wrong", "skipped"]


def test_each_candidate_has_its_outcome(tried):
    assert {name: each.outcome for name, each in tried.items()} == {
        "seed": "passed", "faster": "passed", "copy": "same", "twin": "passed", "broken": "failed", "wrong": "failed",
        "skipped": "screened",
    }  # fmt: skip


def test_a_gain_is_the_logarithm_of_the_parents_time_over_the_candidates(tried):
    assert tried["faster"].gain == math.log(2)
    assert tried["seed"].gain is tried["broken"].gain is None


def test_a_duplicate_has_the_time_of_the_first(tried):
    assert (tried["twin"].time_ms, tried["twin"].gain) == (1.0, math.log(2))


def test_moves_and_numbers_go_along(tried):
    assert tried["twin"].moves == ("split_k", "even_flag")
    assert (tried["faster"].sketch, tried["faster"].numbers) == ("s", ("k.BLOCK=64",))
