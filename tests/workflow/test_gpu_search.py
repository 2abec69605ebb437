"""A whole search on a GPU: real verdicts, times and profiles, and nothing measured twice."""

import json
import shutil
import sys

import pytest

from kopt.artifact import read_table, read_tables
from kopt.model.trial import EvaluationRow, SelectionRow, Trial

pytestmark = pytest.mark.gpu

RUN = ("problem=softmax", "run=t", "rounds=1", "models=[kopt-rewrite]", "judge=cuda", "baselines=[eager]")
OPTIONS = ("--resources", "gpu=1")


@pytest.fixture(scope="module")
def searched(tmp_path_factory, new_project):
    project = new_project(tmp_path_factory.mktemp("searched"))
    project.output = project.succeeds(*RUN, options=OPTIONS)
    return project


def test_the_final_figures_are_measured_side_by_side(searched):
    final = json.loads(searched.file("final.json").read_text())
    assert final["estimated"] is False
    assert {one["name"] for one in final["against"]} == {"seed", "eager"}
    assert all(one["low"] <= one["speedup"] <= one["high"] for one in final["against"])


def test_every_correct_kernel_has_a_measured_time(searched):
    rows = read_tables(sorted(searched.file(".").glob("round_*/attempt_*/evaluation_*.parquet")), EvaluationRow)
    passed = [row for row in rows if row.verdict == "passed"]
    assert passed
    assert all(row.judge == "cuda" and row.time_ms and not row.estimated for row in passed)


def test_parents_are_profiled(searched):
    first = read_table(searched.file("round_0/selection.parquet"), SelectionRow)[0]
    profile = json.loads(searched.file("round_0/profile/0.json").read_text())
    assert profile["kernel"] == first.kernel
    assert profile["profile"]["kind"] in ("counters", "static")


def test_a_deleted_run_comes_back_from_the_store_byte_for_byte(searched):
    names = ("best_kernel.py", "round_1/selection.parquet", "round_1/ranking.parquet", "final.json", "trials.parquet")
    before = {name: searched.file(name).read_bytes() for name in names}
    assert read_table(searched.file("trials.parquet"), Trial)
    shutil.rmtree(searched.file("."))
    searched.succeeds(*RUN, options=OPTIONS)
    assert {name: searched.file(name).read_bytes() for name in names} == before
    log = searched.file("logs/round_1/evaluate_0_0.log").read_text()
    assert "0 to judge" in log


def test_a_best_kernel_with_an_autotuner_has_its_choice_for_the_timed_shapes(tmp_path_factory, new_project):
    project = new_project(tmp_path_factory.mktemp("tuned"))
    project.edit(
        "config/problems/matvec/kernel.py", "@triton.jit\n",
        "@triton.autotune([triton.Config({}, num_warps=4), triton.Config({}, num_warps=8)], key=['K'])\n@triton.jit\n",
    )  # fmt: skip
    project.edit("config/problems/matvec/kernel.py", "BLOCK_K=256, num_warps=4)", "BLOCK_K=256)")
    project.succeeds(*RUN[1:3], "problem=matvec", "models=[kopt-echo]", *RUN[4:], options=OPTIONS)
    text = project.file("best_kernel.py").read_text()
    assert "TUNED = [" in text
    code = (
        "import best_kernel, torch, triton\n"
        "triton.runtime.autotuner.Autotuner._bench = None\n"
        "A, B = torch.ones(2048, 1048576, dtype=torch.bfloat16, device='cuda'), torch.ones(1048576, 1, device='cuda')\n"
        "assert best_kernel.kernel_function(A, B.bfloat16()).unique().tolist() == [1048576.0]\n"
    )
    done = project.run_command([sys.executable, "-c", code], {"PYTHONPATH": str(project.file("."))})
    assert done.returncode == 0, done.stdout
