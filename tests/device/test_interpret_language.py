"""What kernels compute in the interpreter is what a GPU computes: one small kernel for each thing of the language."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.device.interpreted_kernels import ROWS


@pytest.fixture(scope="module")
def faults():
    """Faults of all rows by name, from one process."""
    script = Path(__file__).with_name("interpreted_kernels.py")
    done = subprocess.run([sys.executable, "-W", "ignore", script], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.parametrize("name", ROWS)
@pytest.mark.xdist_group("interpreted kernels")
def test_a_kernel_computes_what_a_gpu_computes(name, faults):
    assert not faults[name], faults[name]
