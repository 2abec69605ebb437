"""Benchmarks are commands: each can at least say what it does, so that a renamed module does not break one unseen."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest
from llm_servers import wait_until

ROOT = Path(__file__).resolve().parents[1]
DATA = {
    "cosmetic_variants",
    "semantic_variants",
    "kernel_parts",
    "verdict_cases",
    "verdict_cuda",
    "idiom_corpus",
    "local_slurm",
    "mutants",
    "mutation_rules",
}
"""Modules that benchmarks import."""
COMMANDS = sorted(path for path in (ROOT / "benchmarks").glob("*.py") if path.stem not in DATA)


@pytest.mark.parametrize("command", COMMANDS, ids=lambda path: path.stem)
def test_a_benchmark_says_what_it_does(command):
    done = subprocess.run([sys.executable, command, "--help"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "usage:" in done.stdout


def test_what_benchmarks_import_inside_functions_exists():
    for file in sorted((ROOT / "benchmarks").rglob("*.py")):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] == "kopt":
                place = ROOT / (node.module or "").replace(".", "/")
                assert place.is_dir() or place.with_suffix(".py").is_file(), f"{file.name} imports {node.module}"


def test_the_tables_of_faults_in_the_docs_are_those_of_the_benchmark_and_their_tests_exist():
    import faults

    assert faults.tables() in (ROOT / "docs" / "faults.md").read_text()
    for *_, test in (*faults.FAULTS, *faults.HOSTILE):
        file, _, name = test.partition("::")
        assert f"def {name}(" in (ROOT / file).read_text() if name else (ROOT / file).exists(), test


@pytest.mark.parametrize(
    "wrong", ["torch.zeros(4)", "torch.ones(4).half()", "torch.ones(3)", "torch.ones(4) / 0", "torch.ones(4) * 1.01"]
)
def test_a_wrong_result_of_an_exported_kernel_is_noticed(wrong):
    import operators_use
    import torch

    def model():
        return torch.ones(4)

    assert operators_use.differs([torch.ones(4) * 1.001], model, []) < 0.002
    with pytest.raises(AssertionError):
        operators_use.differs([eval(wrong)], model, [])


def test_wrong_indexes_of_an_exported_kernel_are_noticed_and_other_ones_of_equal_elements_are_not():
    import operators_use
    import torch

    rows = torch.arange(64).div(4, rounding_mode="floor").expand(8, 64)
    right = 63 - rows.flip(-1).sort(dim=-1, descending=True, stable=True)[1][:, :8]
    assert operators_use.differs([right], lambda x: x.topk(8)[1], [rows]) == 0
    with pytest.raises(AssertionError, match="of the whole numbers"):
        operators_use.differs([right - right % 8], lambda x: x.topk(8)[1], [rows])


def test_a_step_of_an_operator_ends_at_its_limit_with_all_that_it_started(tmp_path):
    import operators

    script = f"{sys.executable} -c 'import time; time.sleep(600)' & echo $! > child; echo begun; wait"
    ok, printed, errors = operators.ran(["sh", "-c", script], tmp_path, {}, 3.0)
    assert (ok, printed, errors) == (False, "begun\n", "\nerror: not done in 3 s")
    stat = Path("/proc", (tmp_path / "child").read_text().strip(), "stat")
    wait_until(lambda: not stat.exists() or ") Z" in stat.read_text())
    assert operators.ran(["true"], tmp_path, {}, -1.0) == (False, "", "error: not begun, the time was up")


def test_the_table_of_operators_says_how_many_kernels_were_launched():
    import operators

    said = "the kernel ran, 3 launches; largest difference 0.004 of the largest value"
    row = operators.Row("rope", {"use": operators.Step("python", True, 4.2, said)}, "inductor", 0.5, 1.0, False)
    assert operators.table([row]).splitlines()[2] == "| rope | inductor |  |  |  |  | 4 s |  | 3 | 0.5000 ms | 2.00x |"


def test_a_search_that_was_cut_off_says_how_far_it_came():
    import kernelbench_search

    log = (
        "R0: seed 7.2082 ms\neager          given         5.3376 ms [5.3367, 5.3381]  12.1% of the roofline\n"
        "R1: 8/8 ok (8 built, 8 unique), PTX dedup 9→9, best 6.1378 ms (kopt-rewrite), 1.17x seed\n"
        "kopt: error: the search stopped in rule rank (log: rank.log): its log names no error\n"
    )
    came = "out of time; R0 7.2082 ms, eager 5.3376 ms, R1 6.1378 ms"
    assert kernelbench_search.why_none(log, cut_off=True) == came
    assert kernelbench_search.why_none("", cut_off=True) == "out of time"
    assert kernelbench_search.why_none(log, cut_off=False).startswith("kopt: error: the search stopped in rule rank")
