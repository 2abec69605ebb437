"""The tables of published kernels are well-formed; `benchmarks/public_kernels.py` judges the kernels."""

import ast

import pytest
from public.adapter import candidate, make_problem
from public.inline import cut_at_tests, definitions, needed_definitions
from public_kernels import REPOSITORIES

ADAPTERS = [(repository, adapter) for repository in REPOSITORIES for adapter in repository.adapters]


def test_names_are_unique_and_many():
    names = [(repository.name, adapter.name) for repository, adapter in ADAPTERS]
    assert len(set(names)) == len(names) >= 100


@pytest.mark.parametrize("repository", REPOSITORIES, ids=lambda repository: repository.name)
def test_every_adapter_states_a_problem(repository):
    for adapter in repository.adapters:
        problem = make_problem(repository, adapter)
        tree = ast.parse(problem.reference)
        constants = {t.id for s in tree.body if isinstance(s, ast.Assign) for t in s.targets if isinstance(t, ast.Name)}
        assert all(set(workload.constants) <= constants for workload in problem.small), adapter.name
        forward = next(f for f in ast.walk(tree) if isinstance(f, ast.FunctionDef) and f.name == "forward")
        named = {argument.arg for argument in forward.args.args}
        assert {*problem.mutates, *problem.inputs} <= named, adapter.name


def test_an_adapter_that_should_not_pass_says_why():
    assert [adapter.name for _, adapter in ADAPTERS if (adapter.ends == "passed") == bool(adapter.why)] == []


def test_a_file_is_made_self_contained_by_what_the_entry_point_needs(tmp_path):
    (tmp_path / "tools").mkdir()
    (tmp_path / "tools" / "sizes.py").write_text("LIMIT = 4\nOTHER = 5\ndef block(n):\n    return min(n, LIMIT)\n")
    file = tmp_path / "operator.py"
    file.write_text("from tools.sizes import block as size\ndef unused(): pass\ndef run(x): return size(x)\n")
    text = needed_definitions(tmp_path, file, "def entry(x): return run(x)", frozenset())
    assert definitions(text) == {"LIMIT", "block", "size", "run"}
    space = {}
    exec(text, space)
    assert space["run"](9) == 4


def test_a_stub_takes_the_place_of_a_definition(tmp_path):
    file = tmp_path / "operator.py"
    file.write_text("def size(n): return n\ndef run(x): return size(x)\n")
    assert "def size" not in needed_definitions(tmp_path, file, "run", frozenset({"size"}))


def test_tests_below_a_kernel_are_cut():
    assert cut_at_tests("x = 1\n" + "#" * 40 + "\ny = 2\n") == "x = 1\n"


def test_a_candidate_is_python(tmp_path):
    repository = REPOSITORIES[0]
    adapter = repository.adapters[0]
    file = tmp_path / adapter.file
    file.parent.mkdir(parents=True)
    file.write_text("from __future__ import annotations\ndef rms_norm_forward(*x): return x\n")
    text = candidate(repository, adapter, tmp_path)
    assert {"rms_norm_forward", "kernel_function"} <= definitions(text)
