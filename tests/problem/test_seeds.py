from pathlib import Path

import pytest

from kopt.device.build.build import BuildJob, build_all
from kopt.load_config import load_device
from kopt.model.build import Build, Built
from kopt.problem.folder import load, names
from kopt.store import Store

ROOT = Path(__file__).parents[2]
PROBLEMS = ROOT / "config" / "problems"


@pytest.fixture(scope="module")
def builds(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Build]:
    """Builds of every seed kernel on its main workloads at full size."""
    problems = [load(PROBLEMS / name) for name in names(PROBLEMS)]
    device = load_device("h100", ROOT)
    jobs = [BuildJob(kernel=problem.seed, problem=problem, device=device) for problem in problems]
    store = Store(tmp_path_factory.mktemp("store"))
    return {problems[at].name: build for at, build in build_all(jobs, store=store, workers=2)}


@pytest.mark.parametrize("name", names(PROBLEMS))
def test_seed_kernel_builds_at_full_size(builds: dict[str, Build], name: str) -> None:
    build = builds[name]
    assert isinstance(build, Built), build
    assert [w.workload for w in build.workloads] == [w.name for w in load(PROBLEMS / name).main]


@pytest.mark.parametrize("name", names(PROBLEMS))
def test_seed_kernel_is_one_launch_without_spills(builds: dict[str, Build], name: str) -> None:
    build = builds[name]
    assert isinstance(build, Built), build
    for workload in build.workloads:
        (launch,) = workload.launches
        assert launch.spills == 0
