"""Benchmarks are commands: each can at least say what it does, so that a renamed module does not break one unseen."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

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

    right = [torch.ones(4)]
    assert operators_use.differs([torch.ones(4) * 1.001], right) < 0.002
    with pytest.raises(AssertionError):
        operators_use.differs([eval(wrong)], right)
