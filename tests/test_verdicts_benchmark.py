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
CASES = {name: (name, "") for name in RIGHT} | {f"{name}/{rule}": (name, rule) for name, rule in WRONG.items()}
"""Idiom and rule of each case, by the case's name; no rule for a right kernel."""

pytestmark = pytest.mark.xdist_group("verdicts")


@pytest.fixture(scope="module")
def mutants():
    """All mutants, by name."""
    return {f"{idiom.name}/{mutant.name}": mutant for idiom in CORPUS.values() for mutant in mutants_of(idiom)}


def test_the_corpus_is_wide():
    assert len(CORPUS) >= 80
    assert len({idiom.kind for idiom in CORPUS.values()}) >= 40
    assert len({idiom.style for idiom in CORPUS.values()}) >= 40


def test_every_rule_makes_mutants(mutants):
    made = Counter(mutant.rule for mutant in mutants.values())
    assert len(mutants) >= 200
    assert [rule.__name__ for rule in RULES if not made[rule.__name__]] == []


def test_mutants_differ_from_their_original_and_from_each_other(mutants):
    originals = {ast.unparse(ast.parse(idiom.problem.seed.source)) for idiom in CORPUS.values()}
    sources = [ast.unparse(ast.parse(mutant.source)) for mutant in mutants.values()]
    assert originals.isdisjoint(sources)
    assert len(set(sources)) == len(sources)


def test_listed_mutants_exist_and_are_listed_once_with_a_reason(mutants):
    lists = listed()
    assert {*lists.equivalent, *lists.survivors} <= set(mutants)
    assert not lists.equivalent.keys() & lists.survivors.keys()
    assert all(lists.why(name).split(": ", 1)[1] for name in (*lists.equivalent, *lists.survivors))


def test_an_idiom_saved_as_a_folder_is_the_same_problem(tmp_path):
    for name in ("adam_step", "matmul_fp8_scaled", "attention_additive_mask"):
        CORPUS[name].save(tmp_path / name)
        assert folder.load(tmp_path / name) == CORPUS[name].problem


def _case(name):
    idiom, rule = CORPUS[CASES[name][0]], CASES[name][1]
    if not rule:
        return Case(name, idiom.problem, idiom.problem.seed)
    mutant = next(mutant for mutant in mutants_of(idiom) if mutant.rule == rule)
    return Case(name, idiom.problem, idiom.problem.seed.with_source(mutant.source))


@pytest.fixture(scope="module")
def endings():
    ends = judge([_case(name) for name in CASES], load_device("h100", ROOT), workers=2, wall_s=60)
    return dict(zip(CASES, ends, strict=True))


@pytest.mark.parametrize("name", CASES)
def test_right_kernels_pass_and_mutants_do_not(name, endings):
    assert (endings[name].end == "passed") == ("/" not in name), endings[name].reason


def test_other_seeds_give_the_same_verdicts(endings):
    cases = [_case(case) for name in AGAIN for case in (name, f"{name}/{WRONG[name]}")]
    for seed in (1, 2):
        verdicts = run_with_environment(NO_GPU, 120, interpret_cases, cases, 2, 60, seed)
        assert [verdict.verdict for verdict in verdicts] == [endings[case.name].end for case in cases]
