"""Kernels are compiled ahead for hidden and small workloads and found by the judge; nothing of it reaches a build."""

import json
from pathlib import Path

import pytest

from kopt.backends import cuda, further_kernels
from kopt.backends.further_kernels import keep_further
from kopt.device.build.build import LIMITS, BuildJob, build_all
from kopt.device.build.further import compile_further
from kopt.device.build.precompiled import Compiled, compiled, install, is_entry
from kopt.device.build.trace import trace
from kopt.device.cuda.judge import CudaJob, ProblemOnDevice
from kopt.device.hardware.measured import MeasuredDevice
from kopt.jobs.builds import known_further
from kopt.jobs.target import ProblemOnTarget
from kopt.model.build import Built, FurtherKernels
from kopt.model.kernel import Kernel
from kopt.model.problem import ProblemFacts, Workload
from kopt.sandbox.environment import NO_GPU, environment_set
from kopt.sandbox.pipe import Report
from kopt.sandbox.pool import Returned, run_forked
from kopt.store import Store
from tests.device.small import H100, SCALE, changed

ODD = Workload(name="odd", constants={"rows": 3, "columns": 77})
EVEN = Workload(name="even", constants={"rows": 3, "columns": 64})
PROBLEM = SCALE.model_copy(update={"hidden": (ODD,), "small": (SCALE.small[0], EVEN)})
"""The main workloads' columns are a multiple of 16, as those of the small one; those of the hidden one are not."""
LINE = "    rows, columns = x.shape"
FAILING = changed((LINE, f"{LINE}\n    assert columns != 77, x.shape"))
ENDLESS = changed((LINE, f"{LINE}\n    while columns == 77: pass"))


@pytest.fixture(scope="module")
def store(tmp_path_factory) -> Store:
    return Store(tmp_path_factory.mktemp("store"))


def built(kernel: Kernel, store: Store) -> Built:
    ((_, build),) = build_all([BuildJob(kernel=kernel, problem=PROBLEM, device=H100)], store=store, workers=1)
    assert isinstance(build, Built)
    return build


@pytest.fixture(scope="module")
def build(store) -> Built:
    return built(SCALE.seed, store)


@pytest.fixture(scope="module")
def further(store) -> FurtherKernels:
    (further,) = compile_further([SCALE.seed], PROBLEM, H100, store=store, workers=2, seconds=120.0)
    return further


def found(workload: Workload, given: Compiled) -> list[bool]:
    """Return, of each kernel that the seed launches on a workload, whether Triton finds it among those given."""

    def traced(report: Report) -> bytes:
        from triton import knobs

        seen: list[bool] = []
        knobs.compilation.listener = lambda **told: seen.append(told["cache_hit"])
        install(given.kernels)
        trace(SCALE.seed, SCALE.model_copy(update={"main": (workload,)}), H100, Path.cwd(), report.phase)
        return json.dumps(seen).encode()

    ((_, outcome),) = run_forked([traced], workers=1, limits=LIMITS)
    assert isinstance(outcome, Returned), outcome
    seen: list[bool] = json.loads(outcome.value)
    return seen


def test_kernels_of_hidden_and_small_workloads_are_found_instead_of_compiled(store, build, further):
    with_further, without = compiled(build, store, further.kernels), compiled(build, store)
    assert (found(ODD, without), found(ODD, with_further)) == ([False], [True])
    assert found(EVEN, with_further) == found(PROBLEM.main[0], with_further) == [True]


def test_they_are_no_part_of_the_build_nor_of_what_a_recorded_call_may_launch(store, build, further, tmp_path):
    own = {launch.cubin for workload in build.workloads for launch in workload.launches}
    assert compiled(build, store, further.kernels).cubins == own
    assert {one.cubin for one in further.kernels} - own
    assert built(SCALE.seed, Store(tmp_path)) == build
    assert [one.workload for one in build.workloads] == [one.name for one in PROBLEM.main]


def test_a_kernel_of_the_build_stays_where_a_further_one_has_its_key(store, build, further):
    kernels = compiled(build, store, further.kernels).kernels
    own = compiled(build, store).kernels
    assert kernels[-len(own) :] == own
    assert len(kernels) == len(set(kernels)) == 2


@pytest.mark.parametrize("kernel", [FAILING, ENDLESS], ids=["raises", "never ends"])
def test_what_fails_on_a_hidden_workload_has_no_further_kernels_and_tells_nobody(store, kernel, caplog, capfd):
    built(kernel, store)  # the build is not touched by it
    made = compile_further([kernel, SCALE.seed], PROBLEM, H100, store=store, workers=2, seconds=20.0)
    assert made[0] == FurtherKernels()
    assert len(made[1].kernels) == 2
    assert "77" not in caplog.text + "".join(capfd.readouterr())


def test_they_are_kept_once_for_kernel_problem_and_device(store, tmp_path, monkeypatch):
    target = ProblemOnTarget(PROBLEM, ProblemFacts(dtype=PROBLEM.dtype, workloads=()), H100, Store(tmp_path))
    keep_further([SCALE.seed, FAILING], target, workers=2, seconds=120.0)
    assert len(known_further(SCALE.seed, PROBLEM, H100, target.store).kernels) == 2
    assert known_further(SCALE.seed, SCALE, H100, target.store) == FurtherKernels()
    assert known_further(FAILING, PROBLEM, H100, target.store) == FurtherKernels()
    monkeypatch.setattr("kopt.device.build.further.run_forked", None)
    keep_further([SCALE.seed], target, workers=2, seconds=120.0)


@pytest.fixture
def cuda_build(tmp_path, monkeypatch):
    """Build with a number of workers, as a run on GPUs does, into a new store; return the store and the builds."""
    monkeypatch.setattr(further_kernels, "_TRIED", set())
    target = ProblemOnTarget(PROBLEM, ProblemFacts(dtype=PROBLEM.dtype, workloads=()), H100, Store(tmp_path))

    def build(kernels, workers):
        with environment_set(NO_GPU):
            return target, cuda.build(target, workers=workers, seconds=30.0)(kernels)

    return build


def test_where_cores_are_left_kernels_are_compiled_for_all_workloads_at_once(cuda_build, monkeypatch):
    target, builds = cuda_build([SCALE.seed, FAILING], 3)
    assert [builds[at].status for at in range(2)] == ["built", "built"]
    assert len(known_further(SCALE.seed, PROBLEM, H100, target.store).kernels) == 2
    monkeypatch.setattr("kopt.device.build.further.run_forked", None)
    cuda.compile_further([SCALE.seed, FAILING], target, workers=3, seconds=30.0)  # not even what has failed


def test_where_no_cores_are_left_builds_have_them(cuda_build):
    target, builds = cuda_build([SCALE.seed], 1)
    assert builds[0].status == "built"
    assert known_further(SCALE.seed, PROBLEM, H100, target.store) == FurtherKernels()


def test_what_the_screen_refuses_is_compiled_for_no_workload(cuda_build):
    refused = changed((LINE, f"{LINE}\n    globals()"))  # it would compile
    target, builds = cuda_build([refused], 2)
    assert builds[0].status == "failed"
    assert known_further(refused, PROBLEM, H100, target.store) == FurtherKernels()


def test_a_store_that_cannot_be_written_leaves_kernels_to_the_judge(tmp_path):
    (tmp_path / "ptx").write_text("in the way")
    made = compile_further([SCALE.seed], PROBLEM, H100, store=Store(tmp_path), workers=2, seconds=120.0)
    assert made == [FurtherKernels()]


def test_no_time_compiles_nothing(store):
    assert compile_further([SCALE.seed], PROBLEM, H100, store=store, workers=2, seconds=0.0) == [FurtherKernels()]


def test_a_job_of_the_judge_hands_them_to_its_contestant(store, build, further):
    gpu = MeasuredDevice(device=H100, uuid="GPU-0", driver="580", read_gb_s=3000.0)
    context = ProblemOnDevice(ProblemFacts(dtype=PROBLEM.dtype, workloads=()), gpu, store)
    job = CudaJob(kernel=SCALE.seed, problem=PROBLEM, seed=0, build=build, further=further)
    assert context.compiled({"a": job})["a"].kernels == compiled(build, store, further.kernels).kernels


def test_what_is_no_entry_of_a_cache_is_refused():
    good = '{"key": "00ff", "name": "f", "metadata": "{}"}'
    assert is_entry(good.encode())
    for other in (good.replace("00ff", "0"), good.replace("00ff", "../x"), good.replace('"f"', '"../f"'), "{}", "x"):
        assert not is_entry(other.encode())
