"""An export accepts and names the workloads that its judge ran, and no others."""

import pytest

from kopt.model.kernel import Kernel
from kopt.model.problem import Dtype, Given, Problem, Workload
from kopt.winner.judged import given_of, judged_beside

PROBLEM = Problem(
    name="one", reference="", seed=Kernel(source=""), dtype=Dtype.FLOAT32,
    main=(Workload(name="given"),),
    hidden=(Workload(name="ragged", constants={"N": 1001}), Workload(name="other", constants={"N": 3})),
    small=(Workload(name="tiles", constants={"N": 64}), Workload(name="ragged", constants={"N": 37})),
)  # fmt: skip
GIVEN = tuple(
    Given(workload=workload.name, arguments=()) for workload in (*PROBLEM.main, *PROBLEM.hidden, *PROBLEM.small)
)


@pytest.mark.parametrize(
    ("judge", "beside", "kept"),
    [("interpret", [64, 37], (0, 3, 4)), ("cuda", [1001, 3], (0, 1, 2)), ("dry", [], (0,))],
)
def test_workloads_that_a_judge_does_not_run_are_left_out(judge, beside, kept):
    others = judged_beside(PROBLEM, judge)
    assert [workload.constants["N"] for workload in others] == beside
    found = given_of(GIVEN, PROBLEM, judge)
    assert len(found) == len(kept)
    assert all(one is GIVEN[place] for one, place in zip(found, kept, strict=True))
