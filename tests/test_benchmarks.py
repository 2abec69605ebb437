"""Benchmarks are commands: each can at least say what it does, so that a renamed module does not break one unseen."""

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
