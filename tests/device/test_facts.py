from functools import cache
from pathlib import Path

import pytest

from kopt.device.reference.facts import problem_facts
from kopt.errors import ProblemError
from kopt.model.problem import Problem, WorkloadFacts
from kopt.problem.folder import load

PROBLEMS = Path(__file__).parents[2] / "config" / "problems"


@cache
def facts(name: str) -> tuple[WorkloadFacts, ...]:
    return problem_facts(load(PROBLEMS / name)).workloads


def test_matvec_at_full_size_reads_the_matrix_once() -> None:
    (main,) = facts("matvec")
    assert [(t.name, t.shape, t.dtype) for t in main.inputs] == [
        ("A", (2048, 1048576), "bfloat16"),
        ("B", (1048576, 1), "bfloat16"),
    ]
    assert main.output.shape == (2048, 1)
    assert main.bytes == 2 * (2048 * 1048576 + 1048576 + 2048)
    assert main.matmul_flops == 2 * 2048 * 1048576


def test_swiglu_counts_both_products_of_every_workload() -> None:
    large, small = facts("gemma3_swiglu")
    assert large.matmul_flops == 2 * 2 * 512 * 3072 * 24576
    assert small.matmul_flops * 4 == large.matmul_flops
    assert large.vector_flops >= 8 * 512 * 24576


def test_parameters_count_as_traffic() -> None:
    (main,) = facts("layernorm")
    assert [(t.name, t.shape) for t in main.parameters] == [("weight", (8192,)), ("bias", (8192,))]
    assert main.bytes == 2 * (2 * 4096 * 8192 + 2 * 8192)


def test_views_and_allocations_are_no_operations() -> None:
    names = [op.name for op in facts("gemma3_swiglu")[0].eager_ops]
    assert names.count("aten.mm.default") == 2
    assert not [name for name in names if "view" in name or "aten.t." in name or "empty" in name]


def test_reduction_counts_its_input() -> None:
    (main,) = facts("rmsnorm")
    (mean,) = [op for op in main.eager_ops if op.name.startswith("aten.mean")]
    assert mean.vector_flops == 112 * 64 * 512 * 512


def test_pooling_counts_its_window() -> None:
    (main,) = facts("maxpool3d")
    assert main.output.shape == (16, 32, 62, 62, 62)
    assert main.vector_flops == 27 * 16 * 32 * 62**3


def test_reference_that_raises_is_a_problem_error() -> None:
    problem = load(PROBLEMS / "matvec")
    broken = problem.reference.replace("torch.matmul(A, B)", "torch.matmul(B, A, B)")
    with pytest.raises(ProblemError, match=r"matvec, workload .*: the reference cannot be traced"):
        problem_facts(Problem.model_validate(problem.model_dump() | {"reference": broken}))


def test_reference_that_returns_no_tensor_is_refused() -> None:
    problem = load(PROBLEMS / "matvec")
    broken = problem.reference.replace("return torch.matmul(A, B)", "return str(torch.matmul(A, B).shape)")
    with pytest.raises(ProblemError, match="returns str, not a tensor"):
        problem_facts(Problem.model_validate(problem.model_dump() | {"reference": broken}))
