"""On a GPU: the CPU stage and a real launch, with the device's own driver, see the same PTX and fingerprint."""

import pytest
import torch

from kopt.device.build import BuildJob, build_all
from kopt.device.contract import load_candidate
from kopt.device.fingerprint import fingerprint, toolchain
from kopt.device.recorder import Recorder
from kopt.device.trace import prepare, quiet_compiler, record_call
from kopt.model.build import Built
from kopt.problem import folder
from kopt.store import Store
from tests.device.small import H100, ROOT

PROBLEMS = sorted(path.name for path in (ROOT / "config/problems").iterdir() if path.is_dir())

pytestmark = pytest.mark.gpu


@pytest.fixture(scope="module")
def traced(tmp_path_factory) -> dict[str, Built]:
    """Builds of the seeds, made before this process has a CUDA context."""
    jobs = [
        BuildJob(kernel=(problem := folder.load(ROOT / "config/problems" / name)).seed, problem=problem, device=H100)
        for name in PROBLEMS
    ]
    builds = dict(build_all(jobs, store=Store(tmp_path_factory.mktemp("store")), workers=4))
    return {name: builds[index] for index, name in enumerate(PROBLEMS)}


@pytest.mark.parametrize("name", PROBLEMS)
def test_a_real_launch_has_the_ptx_and_fingerprint_of_the_cpu_stage(name, traced, tmp_path, monkeypatch):
    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))
    quiet_compiler()
    problem = folder.load(ROOT / "config/problems" / name)
    entry = load_candidate(problem.seed, tmp_path)
    seen = []
    for workload in problem.main:
        ready = prepare(problem, workload)
        seen.append(record_call(entry, ready, Recorder(), H100, real=True))
        del ready
        torch.cuda.empty_cache()
    built = traced[name]
    assert isinstance(built, Built), built
    digests = [[launch.ptx for launch in workload.launches] for workload in built.workloads]
    assert [[launch.ptx for launch in workload.launches] for workload in seen] == digests
    assert tuple(seen) == built.workloads
    assert fingerprint(seen, toolchain(H100)) == built.fingerprint
