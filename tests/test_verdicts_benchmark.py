"""The benchmark of verdicts: what its corpus and its mutants are, and a sample of its verdicts."""

import ast
from collections import Counter
from pathlib import Path

import pytest
from idiom_corpus import idioms
from mutants import listed, mutants_of
from mutation_rules import RULES
from verdict_cases import Case, interpret_cases, judge

from kopt.load_config import load_device
from kopt.problem import folder
from kopt.sandbox.environment import NO_GPU
from kopt.sandbox.fresh import run_with_environment

ROOT = Path(__file__).resolve().parents[1]
CORPUS = {idiom.name: idiom for idiom in idioms()}
MUTANTS = {f"{idiom.name}/{mutant.name}": mutant for idiom in CORPUS.values() for mutant in mutants_of(idiom)}

RIGHT = (
    "add_vectors", "column_sum_spin_lock", "attention_decode_split", "dropout_philox", "max_with_indices", "adam_step",
)  # fmt: skip
WRONG = {
    "add_vectors": "bound_too_near", "column_sum_spin_lock": "axis_changed", "embedding_backward": "atomic_to_store",
    "dropout_philox": "quotient_turned", "cumsum_rows": "zero_to_one",
}  # fmt: skip
"""One rule for each of some idioms."""
AGAIN = ("add_vectors", "dropout_philox")
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


def _right(name):
    return Case(name, CORPUS[name].problem, CORPUS[name].problem.seed)


def _mutant(name, rule):
    idiom = CORPUS[name]
    mutant = next(mutant for mutant in mutants_of(idiom) if mutant.rule == rule)
    return Case(f"{name}/{rule}", idiom.problem, idiom.problem.seed.with_source(mutant.source))


CASES = [*(_right(name) for name in RIGHT), *(_mutant(name, rule) for name, rule in WRONG.items())]


@pytest.fixture(scope="module")
def endings():
    ends = judge(CASES, load_device("h100", ROOT), workers=2, wall_s=60)
    return {case.name: end for case, end in zip(CASES, ends, strict=True)}


@pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])
@pytest.mark.xdist_group("verdicts")
def test_right_kernels_pass_and_mutants_do_not(case, endings):
    assert (endings[case.name].end == "passed") == ("/" not in case.name), endings[case.name].reason


@pytest.mark.xdist_group("verdicts")
def test_other_seeds_give_the_same_verdicts(endings):
    cases = [case for name in AGAIN for case in (_right(name), _mutant(name, WRONG[name]))]
    for seed in (1, 2):
        verdicts = run_with_environment(NO_GPU, 120, interpret_cases, cases, 2, 60, seed)
        assert [verdict.verdict for verdict in verdicts] == [endings[case.name].end for case in cases]
