"""The benchmark of verdicts: what its corpus and its mutants are, and a sample of its verdicts."""

import ast
from collections import Counter
from pathlib import Path

import pytest
from idiom_corpus import idioms
from mutants import RULES, listed, mutants_of
from verdict_cases import Case, judge

from kopt.load_config import load_device
from kopt.problem import folder

ROOT = Path(__file__).resolve().parents[1]
CORPUS = {idiom.name: idiom for idiom in idioms()}
MUTANTS = {f"{idiom.name}/{mutant.name}": mutant for idiom in CORPUS.values() for mutant in mutants_of(idiom)}

RIGHT = (
    "add_vectors", "column_sum_spin_lock", "attention_decode_split", "dropout_philox", "matmul_persistent",
    "cumsum_rows", "embedding_backward",
)  # fmt: skip
WRONG = {
    "add_vectors": "bound_too_near", "column_sum_spin_lock": "axis_changed", "embedding_backward": "atomic_to_store",
    "dropout_philox": "quotient_turned", "matmul_persistent": "last_tile_left_out", "cumsum_rows": "zero_to_one",
}  # fmt: skip
"""One rule for each of some idioms."""
AGAIN = ("add_vectors", "dropout_philox", "column_sum_spin_lock")
"""Idioms that are judged, with their mutants of `WRONG`, with other seeds of the run, too."""


def test_the_corpus_is_wide():
    assert len(CORPUS) >= 80
    assert len({idiom.kind for idiom in CORPUS.values()}) >= 40
    assert len({idiom.style for idiom in CORPUS.values()}) >= 40


def test_every_rule_makes_mutants():
    made = Counter(mutant.rule for mutant in MUTANTS.values())
    assert len(MUTANTS) >= 200
    assert [rule.__name__ for rule in RULES if not made[rule.__name__]] == []


def test_mutants_differ_from_their_original_and_from_each_other():
    originals = {ast.unparse(ast.parse(idiom.problem.seed.source)) for idiom in CORPUS.values()}
    sources = [ast.unparse(ast.parse(mutant.source)) for mutant in MUTANTS.values()]
    assert originals.isdisjoint(sources)
    assert len(set(sources)) == len(sources)


def test_listed_mutants_exist_and_are_listed_once_with_a_reason():
    lists = listed()
    assert {*lists.equivalent, *lists.survivors} <= set(MUTANTS)
    assert not lists.equivalent.keys() & lists.survivors.keys()
    assert all(lists.why(name).split(": ", 1)[1] for name in (*lists.equivalent, *lists.survivors))


def test_an_idiom_saved_as_a_folder_is_the_same_problem(tmp_path):
    for name in ("adam_step", "matmul_fp8_scaled", "attention_additive_mask"):
        CORPUS[name].save(tmp_path / name)
        assert folder.load(tmp_path / name) == CORPUS[name].problem


def _cases():
    for name in RIGHT:
        yield "passed", 0, Case(name, CORPUS[name].problem, CORPUS[name].problem.seed)
    for name, rule in WRONG.items():
        yield "refused", 0, _mutant(name, rule)
    for seed in (1, 2):
        for name in AGAIN:
            yield "passed", seed, Case(name, CORPUS[name].problem, CORPUS[name].problem.seed)
            if name in WRONG:
                yield "refused", seed, _mutant(name, WRONG[name])


def _mutant(name, rule):
    idiom = CORPUS[name]
    mutant = next(mutant for mutant in mutants_of(idiom) if mutant.rule == rule)
    return Case(f"{name}/{rule}", idiom.problem, idiom.problem.seed.with_source(mutant.source))


CASES = list(_cases())


@pytest.fixture(scope="module")
def endings():
    device = load_device("h100", ROOT)
    ends = {}
    for seed in sorted({seed for _, seed, _ in CASES}):
        cases = [case for _, drawn, case in CASES if drawn == seed]
        judged = judge(cases, device, workers=2, wall_s=60, seed=seed)
        ends |= {(case.name, seed): end for case, end in zip(cases, judged, strict=True)}
    return ends


@pytest.mark.parametrize(("wanted", "seed", "case"), CASES, ids=[f"{case.name}-{seed}" for _, seed, case in CASES])
@pytest.mark.xdist_group("verdicts")
def test_right_kernels_pass_and_mutants_do_not(wanted, seed, case, endings):
    end = endings[case.name, seed]
    assert (end.end == "passed") == (wanted == "passed"), end.reason
