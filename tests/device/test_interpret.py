import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from pydantic import TypeAdapter

from kopt.device.reference.rejection import on_workload
from kopt.model.kernel import Kernel
from kopt.model.problem import Problem, Workload
from kopt.model.verdict import Failed, Incorrect, Passed, Verdict
from kopt.problem.folder import load, names
from tests.device.interpreted import RIGHT, WRONG

PROBLEMS = Path(__file__).parents[2] / "config" / "problems"
VERDICT: TypeAdapter[Verdict] = TypeAdapter(Verdict)

RUN = """
import json, sys
from kopt.sandbox.cage import Limits
from kopt.device.interpret.judge import verify_all
from kopt.device.interpret.contestant import VerifyJob

jobs = [VerifyJob.model_validate(job) for job in json.load(sys.stdin)]
verdicts = {i: v.model_dump(mode="json") for i, v in verify_all(jobs, workers=2, limits=Limits(wall_s=8))}
print(json.dumps([verdicts[i] for i in range(len(jobs))]))
"""
"""Judging needs a process of its own: contestants are forked from it."""

pytestmark = pytest.mark.xdist_group("interpreted kernels")


def judge_all(jobs: list[tuple[Problem, str]], hash_seed: str = "0") -> list[Verdict]:
    texts = [
        {"kernel": Kernel(source=source).model_dump(), "problem": problem.model_dump(mode="json"), "seed": 7}
        for problem, source in jobs
    ]
    done = subprocess.run(
        [sys.executable, "-c", RUN],
        input=json.dumps(texts),
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONHASHSEED": hash_seed},
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return [VERDICT.validate_python(one) for one in json.loads(done.stdout.splitlines()[-1])]


MATVEC = load(PROBLEMS / "matvec").model_copy(
    update={
        "small": (
            Workload(name="tiles", constants={"M": 8, "K": 2048}),
            Workload(name="ragged", constants={"M": 5, "K": 1160}),
        )
    }
)
"""Smaller than the problem's own small workloads, which the seed kernels are judged on."""


@pytest.fixture(scope="module")
def verdicts() -> dict[str, Verdict]:
    """Verdicts of all candidates on matvec, and of the seed kernel of every problem, from one run."""
    seeds = {name: load(PROBLEMS / name) for name in names(PROBLEMS)}
    jobs = {f"wrong {name}": (MATVEC, source) for name, (source, _) in WRONG.items()}
    jobs |= {f"seed {name}": (problem, problem.seed.source) for name, problem in seeds.items()}
    jobs |= {f"right {name}": (MATVEC, source) for name, source in RIGHT.items()}
    return dict(zip(jobs, judge_all(list(jobs.values())), strict=True))


@pytest.mark.parametrize("name", names(PROBLEMS))
def test_seed_kernel_passes(verdicts: dict[str, Verdict], name: str) -> None:
    assert isinstance(verdicts[f"seed {name}"], Passed), verdicts[f"seed {name}"]


def test_passing_means_five_checks_over_three_distributions(verdicts: dict[str, Verdict]) -> None:
    for verdict in verdicts.values():
        if isinstance(verdict, Passed):
            assert len(verdict.checks) >= 5
            assert len({check.distribution for check in verdict.checks}) >= 3
            assert all(check.max_error <= check.allowed for check in verdict.checks)


@pytest.mark.parametrize("name", RIGHT)
def test_correct_kernel_passes(verdicts: dict[str, Verdict], name: str) -> None:
    assert isinstance(verdicts[f"right {name}"], Passed), verdicts[f"right {name}"]


@pytest.mark.parametrize("name", WRONG)
def test_wrong_kernel_is_caught(verdicts: dict[str, Verdict], name: str) -> None:
    assert isinstance(verdicts[f"wrong {name}"], WRONG[name][1]), verdicts[f"wrong {name}"]


@pytest.mark.parametrize(
    ("name", "phase", "words"),
    [
        ("torch only", "fallback", "torch computes"),
        ("result of torch", "fallback", "torch computes"),
        ("result of torch behind a kernel that copies", "fallback", "aten.mm"),
        ("result of NumPy", "fallback", "to the host"),
        ("input written", "mutation", "input A"),
        ("wrong dtype", "contract", "must be bfloat16, got float32"),
        ("wrong shape", "contract", "(8, 1)"),
        ("tuple", "contract", "tuple"),
        ("subclass", "contract", "Parameter"),
        ("sys.exit", "crash", "SystemExit"),
        ("os._exit", "crash", "exited with status 0"),
        ("hang", "timeout", "8 s"),
        ("raises", "interpret", "no luck"),
        ("no entry", "entry", "kernel_function"),
        ("out of bounds", "interpret", "outside every tensor"),
        ("out of bounds, a scalar and a block in one mask", "interpret", "outside every tensor"),
        ("mask removed", "interpret", "outside every tensor"),
        ("inline assembly that reads memory", "interpret", "instruction ld.global.f32"),
        ("an address as a number", "interpret", "argument 0 is a tensor's address"),
        ("a race beside an atomic", "interpret", "no atomic operation orders the two"),
    ],
)
def test_failure_names_phase_and_reason(verdicts: dict[str, Verdict], name: str, phase: str, words: str) -> None:
    verdict = verdicts[f"wrong {name}"]
    assert isinstance(verdict, Failed)
    assert (verdict.phase, words in verdict.reason) == (phase, True), verdict


@pytest.mark.parametrize(
    "name", ["torch only", "wrong shape", "os._exit", "hang", "raises", "out of bounds", "an address as a number"]
)
def test_failure_names_the_small_workload_and_its_sizes(verdicts: dict[str, Verdict], name: str) -> None:
    verdict = verdicts[f"wrong {name}"]
    assert isinstance(verdict, Failed)
    said = {on_workload(workload, "", "small") for workload in MATVEC.small}
    assert verdict.reason.startswith(tuple(said)), verdict.reason
    assert all(word in min(said) for word in ("small workload ", "M=", "K=", "): "))


def test_sizes_of_a_hidden_workload_are_not_told_and_many_sizes_are_cut() -> None:
    workload = Workload(name="odd", constants={"M": 12345})
    assert on_workload(workload, "no", "timed") == "timed workload odd (M=12345): no"
    assert on_workload(workload, "no", "small") == "small workload odd (verified only; M=12345): no"
    hidden = "hidden workload odd (verified only; its sizes are hidden): no"
    assert on_workload(workload, "no", "hidden") == hidden
    assert on_workload(workload.model_copy(update={"name": "hidden odd"}), "no", "hidden") == hidden
    assert on_workload(Workload(name="one"), "no", "timed") == "timed workload one: no"
    many = Workload(name="odd", constants={f"SIZE_{place}": place for place in range(500)})
    assert len(on_workload(many, "no", "timed")) < 250


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("zeros", "got 0"),
        ("nothing stored", "are not finite"),
        ("last tile dropped", "elements are wrong"),
        ("one row missing", "1 of 8 elements"),
        ("result of torch in pieces", "run again from their record on new inputs"),
    ],
)
def test_incorrect_says_where_and_how(verdicts: dict[str, Verdict], name: str, words: str) -> None:
    verdict = verdicts[f"wrong {name}"]
    assert isinstance(verdict, Incorrect)
    assert words in verdict.reason, verdict


def test_same_job_gives_the_same_verdict_in_another_process(verdicts: dict[str, Verdict]) -> None:
    names_and_jobs = {"wrong one row missing": WRONG["one row missing"][0], "right autotuned": RIGHT["autotuned"]}
    again = judge_all([(MATVEC, source) for source in names_and_jobs.values()], hash_seed="123")
    assert again == [verdicts[name] for name in names_and_jobs]
