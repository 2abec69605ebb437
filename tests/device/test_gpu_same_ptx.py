"""On a GPU: the CPU stage and a real launch, with the device's own driver, see the same PTX and fingerprint."""

import subprocess
import sys

import pytest
import torch

from kopt.device.build.fingerprint import fingerprint, toolchain
from kopt.device.build.precompiled import quiet_compiler
from kopt.device.build.trace import prepare, record_call
from kopt.device.build.trace_log import TraceLog
from kopt.device.reference.contract import load_candidate
from kopt.model.build import Built
from kopt.problem import folder
from tests.device.small import H100, ROOT

PROBLEMS = sorted(path.name for path in (ROOT / "config/problems").iterdir() if path.is_dir())

pytestmark = pytest.mark.gpu


def build(name: str) -> Built:
    """The seed's build, made by the command line in a process of its own, which sees no GPU."""
    program = "import sys; from kopt.cli import main; sys.exit(main(sys.argv[1:]))"
    file = ROOT / "config/problems" / name / "kernel.py"
    words = ["build", str(file), "--problem", name, "--json"]
    done = subprocess.run([sys.executable, "-c", program, *words], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return Built.model_validate_json(done.stdout)


@pytest.mark.parametrize("name", PROBLEMS)
def test_a_real_launch_has_the_ptx_and_fingerprint_of_the_cpu_stage(name, tmp_path, monkeypatch):
    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))
    quiet_compiler()
    problem = folder.load(ROOT / "config/problems" / name)
    entry = load_candidate(problem.seed, tmp_path)
    seen = []
    for workload in problem.main:
        ready = prepare(problem, workload)
        seen.append(record_call(entry, ready, TraceLog(), H100, real=True))
        del ready
        torch.cuda.empty_cache()
    built = build(name)
    digests = [[launch.ptx for launch in workload.launches] for workload in built.workloads]
    assert [[launch.ptx for launch in workload.launches] for workload in seen] == digests
    assert tuple(seen) == built.workloads
    assert fingerprint(seen, toolchain(H100)) == built.fingerprint
