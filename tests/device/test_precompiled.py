"""What the CPU stage compiled is loaded, not compiled again; what does not match is compiled."""

import json
from functools import partial
from pathlib import Path

import pytest

from kopt.device.build.build import LIMITS, BuildJob, build_all, warm_up
from kopt.device.build.precompiled import Compiled, compiled, install
from kopt.device.build.trace import trace
from kopt.model.build import Built
from kopt.model.kernel import Kernel
from kopt.sandbox.pipe import Report
from kopt.sandbox.pool import Returned, run_forked
from kopt.store import Store
from tests.device.small import H100, SCALE, changed

TUNED = changed(
    (
        "@triton.jit",
        '@triton.autotune([triton.Config({"BLOCK": b}, num_warps=w) for b, w in ((512, 4), (1024, 8))], key=[])\n'
        "@triton.jit",
    ),
    (", BLOCK=512, num_warps=4", ""),
)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Built, Compiled, Store]]:
    store = Store(tmp_path_factory.mktemp("store"))
    kernels = {"seed": SCALE.seed, "tuned": TUNED}
    jobs = [BuildJob(kernel=kernel, problem=SCALE, device=H100) for kernel in kernels.values()]
    builds = dict(build_all(jobs, store=store, workers=2, limits=LIMITS))
    named = {name: builds[at] for at, name in enumerate(kernels)}
    return {name: (one, compiled(one, store), store) for name, one in named.items() if isinstance(one, Built)}


def _traced(kernel: Kernel, given: Compiled, report: Report) -> bytes:
    """Trace a kernel in a cage with `given` installed; also, of each kernel that it compiles, whether it was found."""
    from triton import knobs

    seen: list[bool] = []
    knobs.compilation.listener = lambda **told: seen.append(told["cache_hit"])
    install(given.kernels)
    traced = trace(kernel, SCALE, H100, Path.cwd(), report.phase)
    return json.dumps([seen, [one.build.model_dump(mode="json") for one in traced]]).encode()


def _run(kernel: Kernel, given: Compiled) -> tuple[list[bool], list[dict[str, object]]]:
    warm_up(H100.arch)
    ((_, outcome),) = run_forked([partial(_traced, kernel, given)], workers=1, limits=LIMITS)
    assert isinstance(outcome, Returned), outcome
    seen, builds = json.loads(outcome.value)
    return seen, builds


def test_every_configuration_of_a_build_has_an_entry_and_a_cubin(made):
    for name, count in {"seed": 1, "tuned": 2}.items():
        build, given, _ = made[name]
        assert len(given.kernels) == count
        assert given.cubins == {launch.cubin for workload in build.workloads for launch in workload.launches}


@pytest.mark.parametrize("name", ["seed", "tuned"])
def test_what_was_compiled_is_found_and_the_build_is_the_same(made, name):
    build, given, _ = made[name]
    seen, again = _run(SCALE.seed if name == "seed" else TUNED, given)
    assert len(seen) == len(given.kernels)
    assert all(seen)
    assert again == [one.model_dump(mode="json") for one in build.workloads]


def test_another_source_finds_nothing_and_is_compiled(made):
    seen, _ = _run(changed(("x * w * factor", "x * w + factor")), made["seed"][1])
    assert seen == [False]


def test_what_the_store_has_lost_is_left_out_and_may_still_be_launched(made, tmp_path):
    build, given, _ = made["tuned"]
    empty = compiled(build, Store(tmp_path))
    assert empty.kernels == ()
    assert empty.cubins == given.cubins


def test_an_entry_names_no_file_of_this_machine(made):
    for _, given, _ in made.values():
        assert not any(b"/" in one.entry for one in given.kernels)
