import importlib.util
import os
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest
import torch
import triton

from kopt.device.build.build import LIMITS, BuildJob, build_all
from kopt.device.build.cubin import resources
from kopt.device.build.fingerprint import fingerprint, toolchain
from kopt.device.screen.syntax import check_syntax
from kopt.errors import ProblemError
from kopt.model.build import BuildFailed, Built, Phase
from kopt.model.kernel import Kernel
from kopt.sandbox.cage import Limits
from kopt.store import Store
from tests.device.small import H100, SCALE, SOURCE, changed

AUTOTUNED = changed(
    (
        "@triton.jit",
        '@triton.autotune([triton.Config({"BLOCK": b}, num_warps=w) for b, w in ((512, 4), (1024, 8))], '
        'key=["columns"])\n'
        "@triton.jit",
    ),
    (", BLOCK=512, num_warps=4", ""),
)
RETURN = "    return y"
LAUNCH = "    scale_kernel[(rows,)]("

KERNELS = {
    "seed": SCALE.seed,
    "again": Kernel(source=SOURCE),
    "autotuned": AUTOTUNED,
    "autotuned in another order": Kernel(
        source=AUTOTUNED.source.replace("((512, 4), (1024, 8))", "((1024, 8), (512, 4))")
    ),
    "autotuned, one without room": Kernel(source=AUTOTUNED.source.replace("(1024, 8)", "(1024, 64)")),
    "grid by name": changed(("[(rows,)]", "[lambda meta: (rows * triton.cdiv(columns, meta['BLOCK']),)]")),
    "syntax": Kernel(source="def kernel_function(x:\n    pass\n"),
    "no entry": Kernel(source="import torch\n"),
    "entry is a number": Kernel(source="kernel_function = 3\n"),
    "import": Kernel(source="import no_such_module\n\ndef kernel_function(x):\n    return x\n"),
    "signature": changed(("(x, weight, factor):", "(x, weight, factor, banana):")),
    "no parameters": Kernel(source="def kernel_function():\n    return None\n"),
    "trace": changed(("    rows, columns = x.shape", "    rows, columns, more = x.shape")),
    "launch arguments": changed(("y, columns, factor, BLOCK", "y, columns, BLOCK")),
    "compile": changed(("x * w * factor", "x @ w")),
    "threads": changed(("num_warps=4", "num_warps=64")),
    "grid": changed(("[(rows,)]", "[(1, 70000)]")),
    "shape": changed((RETURN, "    return y[:-1]")),
    "dtype": changed(("torch.empty_like(x)", "torch.empty_like(x, dtype=torch.float32)")),
    "type": changed((RETURN, "    return (y,)")),
    "none": changed((RETURN, "")),
    "device": changed((RETURN, "    return torch.empty(x.shape, dtype=x.dtype)")),
    "no launch": Kernel(source="import torch, triton\n\ndef kernel_function(x):\n    return torch.empty_like(x)\n"),
    "matmul": changed((RETURN, "    y @ y.T\n    return y")),
    "matmul in try": changed((RETURN, "    try:\n        y @ y.T\n    except:\n        pass\n    return y")),
    "sum": changed((RETURN, "    return y + 0 * y.sum()")),
    "by getattr": changed((RETURN, "    return getattr(torch, 'mul')(y, 2)")),
    "on the host": changed((RETURN, "    return (x.cpu() * 2).to('cuda')")),
    "item": changed((RETURN, "    y[0, 0].item()\n    return y")),
    "torch.compile": changed((RETURN, "    return torch.compile(lambda t: t * 2)(y)")),
    "graph": changed((RETURN, "    torch.cuda.CUDAGraph()\n    return y")),
    "stream": changed((RETURN, "    torch.cuda.Stream()\n    return y")),
    "subclass": changed((RETURN, "    class T(torch.Tensor):\n        pass\n    return y.as_subclass(T)")),
    "fine around": changed(
        (LAUNCH, "    x = x.to('cuda').float().to(torch.bfloat16).view(rows, columns)\n    y.zero_()\n" + LAUNCH)
    ),
    "properties": changed(
        (LAUNCH, "    assert torch.cuda.get_device_properties('cuda').multi_processor_count == 132\n" + LAUNCH),
        (RETURN, "    torch.cuda.synchronize()\n    return y"),
    ),
    "imports os": Kernel(source="import os\n\ndef kernel_function(x):\n    os._exit(0)\n"),
    "SystemExit": Kernel(source="def kernel_function(x):\n    raise SystemExit(0)\n"),
    "segfault": Kernel(
        source="import numpy\n\ndef kernel_function(x):\n"
        "    numpy.lib.stride_tricks.as_strided(numpy.zeros(1), (9,), (1 << 44,)).sum()\n"
    ),
}  # fmt: skip


@pytest.fixture(scope="module")
def store(tmp_path_factory) -> Store:
    return Store(tmp_path_factory.mktemp("store"))


@pytest.fixture(scope="module")
def builds(store):
    jobs = [BuildJob(kernel=kernel, problem=SCALE, device=H100) for kernel in KERNELS.values()]
    found = dict(build_all(jobs, store=store, workers=2, limits=Limits(wall_s=120.0, data_bytes=6 << 30)))
    return {name: found[index] for index, name in enumerate(KERNELS)}


@pytest.fixture(scope="module")
def seed(builds) -> Built:
    assert isinstance(builds["seed"], Built), builds["seed"]
    return builds["seed"]


@pytest.mark.parametrize(
    ("name", "phase", "words"),
    [
        ("syntax", Phase.SYNTAX, "line 1"),
        ("no entry", Phase.ENTRY, "kernel_function"),
        ("entry is a number", Phase.ENTRY, "kernel_function"),
        ("import", Phase.IMPORT, "no_such_module"),
        ("signature", Phase.ENTRY, "banana"),
        ("no parameters", Phase.ENTRY, "0 positional"),
        ("trace", Phase.TRACE, "rows, columns, more = x.shape"),
        ("launch arguments", Phase.TRACE, "factor"),
        ("compile", Phase.COMPILE, "x @ w"),
        ("threads", Phase.RESOURCES, "2048 threads"),
        ("grid", Phase.RESOURCES, "70000"),
        ("shape", Phase.CONTRACT, "(4095, 512)"),
        ("dtype", Phase.CONTRACT, "float32"),
        ("type", Phase.CONTRACT, "tuple"),
        ("none", Phase.CONTRACT, "got None"),
        ("device", Phase.CONTRACT, "cpu"),
        ("no launch", Phase.FALLBACK, "no Triton kernel"),
        ("matmul", Phase.FALLBACK, "aten.mm"),
        ("matmul in try", Phase.FALLBACK, "aten.mm"),
        ("sum", Phase.FALLBACK, "aten.sum"),
        ("by getattr", Phase.FALLBACK, "aten.mul"),
        ("on the host", Phase.FALLBACK, "to the host"),
        ("item", Phase.FALLBACK, "_local_scalar_dense"),
        ("torch.compile", Phase.FALLBACK, "torch.compile"),
        ("graph", Phase.FALLBACK, "CUDA graph"),
        ("stream", Phase.FALLBACK, "stream"),
        ("subclass", Phase.TRACE, "subclass T"),
        ("imports os", Phase.IMPORT, "line 4: uses os._exit"),
        ("SystemExit", Phase.CRASH, "SystemExit"),
        ("segfault", Phase.CRASH, "SIGSEGV"),
    ],
)
def test_a_bad_candidate_is_rejected_with_phase_and_reason(builds, name, phase, words):
    build = builds[name]
    assert isinstance(build, BuildFailed)
    assert (build.phase, words in build.reason) == (phase, True), build


def build_one(kernel, store, device=H100, limits=LIMITS):
    ((_, build),) = build_all(
        [BuildJob(kernel=kernel, problem=SCALE, device=device)], store=store, workers=1, limits=limits
    )
    return build


def test_more_shared_memory_than_the_device_has_is_rejected(store):
    device = H100.model_copy(update={"shared_bytes_per_block": 4})
    build = build_one(changed(("x * w * factor", "x * tl.sum(w, axis=0) * factor")), store, device)
    assert isinstance(build, BuildFailed)
    assert build.phase == Phase.RESOURCES
    assert "shared memory a block; the device has 4" in build.reason


def test_a_hang_is_a_timeout_with_its_phase(store):
    build = build_one(
        Kernel(source="def kernel_function(x):\n    while True:\n        pass\n"), store, limits=Limits(wall_s=5.0)
    )
    assert build == BuildFailed(phase=Phase.TIMEOUT, reason="not done within 5 s, killed in phase trace")


def test_no_reason_names_a_scratch_folder(builds):
    reasons = [build.reason for build in builds.values() if isinstance(build, BuildFailed)]
    assert not [reason for reason in reasons if "/tmp" in reason or "kopt-" in reason]


def test_every_main_workload_is_traced_at_its_full_size(seed):
    assert [(w.workload, w.launches[0].grid) for w in seed.workloads] == [
        ("wide", (4096, 1, 1)),
        ("plain", (128, 1, 1)),
    ]


def test_a_launch_says_what_is_passed(seed):
    launch = seed.workloads[0].launches[0]
    assert launch.kernel == "scale_kernel"
    assert dict(launch.signature) == {
        "x_ptr": "*bf16", "w_ptr": "*bf16", "y_ptr": "*bf16", "columns": "i32", "factor": "fp32", "BLOCK": "constexpr",
    }  # fmt: skip
    assert dict(launch.constants) == {"BLOCK": "512"}
    assert dict(launch.pointers) == {"x_ptr": "input 0", "w_ptr": "model scale.weight", "y_ptr": "allocation 0"}
    assert dict(launch.arguments)["x_ptr"] == "bfloat16[4096, 512]"
    assert dict(launch.arguments)["factor"] == "2.0"
    assert (launch.num_warps, launch.trial) == (4, False)
    assert launch.registers > 0


def test_host_operations_are_recorded(builds, seed):
    assert [(op.kind, op.before) for op in seed.workloads[0].host_ops] == [("allocation", 0)]
    around = builds["fine around"]
    assert isinstance(around, Built), around
    kinds = [op.kind for op in around.workloads[0].host_ops]
    assert kinds.count("copy") == 2
    assert kinds.count("fill") == 1


def test_compiled_code_lies_in_the_store(seed, store):
    launch = seed.workloads[0].launches[0]
    assert ".entry scale_kernel" in store.text("ptx", launch.ptx, ".ptx")
    assert store.blob("cubin", launch.cubin, ".cubin")[:4] == b"\x7fELF"


def test_no_path_is_compiled_in(seed, store):
    text = store.text("ptx", seed.workloads[0].launches[0].ptx, ".ptx")
    assert "candidate" not in text
    assert ".loc" not in text


def test_the_same_source_gives_the_same_build(builds, seed):
    assert builds["again"] == seed


def test_device_queries_are_answered_from_the_description(builds, seed):
    assert builds["properties"].fingerprint == seed.fingerprint


def test_a_grid_may_depend_on_the_arguments(builds, seed):
    assert builds["grid by name"].fingerprint == seed.fingerprint


def test_an_autotuners_configurations_are_trials_of_one_call(builds):
    launches = builds["autotuned"].workloads[0].launches
    assert [(launch.trial, launch.call, launch.num_warps) for launch in launches] == [(True, 0, 4), (True, 0, 8)]


def test_a_trial_knows_its_configuration_and_the_key_under_which_triton_keeps_the_choice(builds, tmp_path, monkeypatch):
    launches = builds["autotuned"].workloads[0].launches
    assert [launch.configuration for launch in launches] == [0, 1]
    path = tmp_path / "autotuned.py"  # not `load_kernel`, which changes torch in its process for good
    path.write_text(AUTOTUNED.source)
    spec = importlib.util.spec_from_file_location("autotuned", path)
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "autotuned", module)
    spec.loader.exec_module(module)
    kernel, tuner = module.kernel_function, module.scale_kernel
    monkeypatch.setattr(type(tuner), "_bench", lambda self, *args, config, **meta: [1.0])
    monkeypatch.setattr(tuner, "cache_results", False)
    monkeypatch.setattr(tuner.fn, "run", lambda *args, **meta: None)
    with suppress(AttributeError):  # what a launch returns
        kernel(*(torch.zeros(shape, dtype=torch.bfloat16) for shape in ((4096, 512), (512,))), 2.0)
    (key,) = tuner.cache
    assert {launch.tuned_for for launch in launches} == {tuple(map(repr, key))}


def test_the_order_of_configurations_does_not_matter(builds, seed):
    assert builds["autotuned"].fingerprint == builds["autotuned in another order"].fingerprint
    assert builds["autotuned"].fingerprint != seed.fingerprint


def test_a_configuration_without_room_is_left_out(builds):
    build = builds["autotuned, one without room"]
    assert isinstance(build, Built), build
    assert len(build.workloads[0].launches) == 1


def test_the_fingerprint_depends_on_the_toolchain(seed):
    tools = toolchain(H100)
    assert fingerprint(seed.workloads, tools) == seed.fingerprint
    assert fingerprint(seed.workloads, tools.model_copy(update={"triton": "0.1"})) != seed.fingerprint
    assert fingerprint(seed.workloads, tools.model_copy(update={"arch": 100})) != seed.fingerprint


def test_resources_are_what_cuobjdump_says(builds, store, tmp_path):
    tool = Path(triton.__file__).parent / "backends/nvidia/bin/cuobjdump"
    for name in ("seed", "autotuned"):
        launch = builds[name].workloads[0].launches[-1]
        (tmp_path / "k.cubin").write_bytes(store.blob("cubin", launch.cubin, ".cubin"))
        said = subprocess.run([tool, "-res-usage", tmp_path / "k.cubin"], capture_output=True, text=True).stdout
        if "REG:" in said:
            assert f"REG:{launch.registers} " in said
            assert f"STACK:{launch.spills} " in said


def test_resources_of_an_unknown_kernel_are_an_error(seed, store):
    code = store.blob("cubin", seed.workloads[0].launches[0].cubin, ".cubin")
    with pytest.raises(KeyError):
        resources(code, "no_such_kernel")


def test_a_bad_reference_is_nobodys_candidate(store):
    broken = SCALE.model_copy(update={"reference": SCALE.reference.replace("rows, columns)]", "rows, banana)]")})
    with pytest.raises(ProblemError):
        list(build_all([BuildJob(kernel=SCALE.seed, problem=broken, device=H100)], store=store, workers=1))


def test_a_star_import_may_bring_the_entry_point():
    assert check_syntax(Kernel(source="from somewhere import *\n")) is None


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("\n \n", "the file is empty"),
        ("x = " + "-" * 100_000 + "1", "nested"),
        ("x = " + "(" * 300 + ")" * 300, "parenthes"),
    ],
)
def test_a_source_that_no_parser_takes_gets_a_reason(source, words):
    failed = check_syntax(Kernel(source=source))
    assert failed is not None
    assert words in failed.reason


def test_a_refused_launch_option_is_a_compile_error(store):
    build = build_one(changed(("num_warps=4", "num_warps=3")), store)
    assert isinstance(build, BuildFailed)
    assert build.phase == Phase.COMPILE
    assert "power of 2" in build.reason


def test_a_thousand_launches_are_recorded_in_order(store):
    loop = "    for i in range(1000):\n        scale_kernel[(rows - i % 2,)]("
    build = build_one(changed(("    scale_kernel[(rows,)](", loop)), store)
    assert isinstance(build, Built), build
    assert [launch.call for launch in build.workloads[0].launches] == list(range(1000))


BUILDS = """
import sys
from pathlib import Path

from kopt.device.build.build import warm_up
from kopt.device.build.trace import trace
from tests.device.small import H100, SCALE

warm_up(H100.arch)
print(len(trace(SCALE.seed, SCALE, H100, Path.cwd(), lambda phase: None)), "torch._dynamo" in sys.modules)
"""

COMPILES_LATER = """
import sys

import torch
from kopt.device.build.build import warm_up

warm_up(90)
settings = torch._dynamo.config
import torch._dynamo
assert torch._dynamo.config is settings is sys.modules["torch._dynamo.config"]
print(torch.compile(lambda x: x + 1, backend="eager")(torch.ones(1)).item())
"""


@pytest.mark.parametrize(("program", "printed"), [(BUILDS, "2 False\n"), (COMPILES_LATER, "2.0\n")])
def test_building_leaves_the_compiler_of_torch_to_those_who_need_it(program, printed, tmp_path):
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path, env=environment)
    assert (done.stdout, done.stderr, done.returncode) == (printed, "", 0)
