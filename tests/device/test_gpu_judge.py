"""The judge on a GPU: right kernels pass, wrong ones do not, and whatever a candidate does costs its own slot only."""

import json
import os
import re
import subprocess
import sys
import tempfile
from functools import partial
from itertools import zip_longest
from pathlib import Path

import pytest
import yaml
from pydantic import TypeAdapter

from kopt.device.hardware.nvml import Clocks
from kopt.model.build import Phase
from kopt.model.kernel import Kernel
from kopt.model.problem import Problem, Workload
from kopt.model.verdict import Failed, Incorrect, Passed
from kopt.problem.folder import load, names
from tests.device.small import SCALE
from tests.device.sources import replaced, wrapped_in

pytestmark = pytest.mark.gpu

PROBLEMS = Path(__file__).parents[2] / "config" / "problems"
MATVEC = load(PROBLEMS / "matvec").model_copy(
    update={"main": (Workload(name="main", constants={"M": 2048, "K": 131072}),)}
)
SEED = MATVEC.seed.source

RUN = """
import json, sys
from itertools import groupby
from pathlib import Path
from kopt.sandbox.cage import Limits
from kopt.device.facts.facts import problem_facts
from kopt.device.cuda.judge import CudaJob, ProblemOnDevice, judge_all
from kopt.device.cuda.race import Race
from kopt.device.hardware.peaks import describe_device
from kopt.store import Store

jobs = [CudaJob.model_validate(job) for job in json.load(sys.stdin)]
found, judged = describe_device(), []
store = Store(Path(sys.argv[1])) if sys.argv[1:] else None
for problem, chunk in groupby(jobs, lambda job: job.problem):
    chunk = list(chunk)
    verdicts = dict(judge_all(
        chunk, ProblemOnDevice(problem_facts(problem), found, store), workers=4, limits=Limits(wall_s=15),
        incumbent=CudaJob(kernel=problem.seed, problem=problem, seed=7), race=Race(repeat=20),
    ))
    judged += [verdicts[i].model_dump(mode="json") for i in range(len(chunk))]
print(json.dumps([found.uuid, judged]))
"""
"""A process of its own: whoever judges must not have used CUDA."""


def judge(jobs: list[tuple[Problem, str]], builds=(), store: Path | None = None, before: str = ""):
    from kopt.device.cuda.race import JudgedKernel

    texts = [
        {"kernel": Kernel(source=source).model_dump(), "problem": problem.model_dump(mode="json"), "seed": 7}
        for problem, source in jobs
    ]
    texts = [text | {"build": build} for text, build in zip_longest(texts, builds)]
    done = subprocess.run(
        [sys.executable, "-c", before + RUN, *([str(store)] if store else [])],
        input=json.dumps(texts), capture_output=True, text=True, env={**os.environ, "SECRET_API_KEY": "xyz"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    uuid, judged = json.loads(done.stdout.splitlines()[-1])
    return uuid, TypeAdapter(list[JudgedKernel]).validate_python(judged)


changed, wrapped = partial(replaced, SEED), partial(wrapped_in, SEED)


SENTINEL = Path(tempfile.gettempdir()) / "kopt-test-not-to-be-removed"
BEFORE = "import ctypes, os, signal, sys, time\n\ndef kernel_function(A, B):\n    "
ENDLESS = "    acc = 0.0\n    while tl.load(y_ptr + row, volatile=True) != 12345.0:\n        acc += 1.0\n"
FAULTS = {
    "segmentation fault": wrapped(BEFORE + "ctypes.string_at(0)"),
    "endless Python": wrapped(BEFORE + "while True: pass"),
    "endless kernel": changed(("    acc = 0.0\n", ENDLESS)),
    "out of bounds": changed(("tl.store(y_ptr + row,", "tl.store(y_ptr + row + 100000000000,")),
    "memory hog": wrapped(BEFORE + "x = [b'x' * (1 << 30) for _ in range(100)]"),
    "device memory hog": wrapped(BEFORE + "x = [torch.empty(1 << 30, device=A.device) for _ in range(100)]"),
    "fork": wrapped(BEFORE + "[os.fork() for _ in range(9)]; time.sleep(60)"),
    "kills its parent": wrapped(BEFORE + "os.kill(os.getppid(), signal.SIGKILL); time.sleep(60)"),
    "removes files": wrapped(BEFORE + f"os.remove({str(SENTINEL)!r})"),
    "floods stdout": wrapped(BEFORE + "\n    while True: os.write(1, b'x' * 65536)"),
    "exit": wrapped(BEFORE + "os._exit(0)"),
    "environment": wrapped(BEFORE + "raise ValueError(sorted(name for name in os.environ if 'KEY' in name))"),
}

WRONG = {
    "zeros": changed(("acc.to(y_ptr", "(acc * 0).to(y_ptr")),
    "most of the work": changed(
        ("range(0, K, BLOCK_K)", "range(0, K - K // 100, BLOCK_K)"), ("< K\n", "< K - K // 100\n")
    ),
    "torch": wrapped("def kernel_function(A, B):\n    honest(A[:8], B)\n    return A @ B\n"),
    "unused kernel": wrapped(
        "def kernel_function(A, B):\n    honest(A[:8], B)\n    return (A.float() @ B.float()).to(A.dtype)\n"
    ),
    "cached by address": wrapped(
        "cache = {}\n\ndef kernel_function(A, B):\n    key = A.data_ptr()\n    if key not in cache:\n"
        "        cache[key] = honest(A, B)\n    else:\n        honest(A[:1], B)\n    return cache[key]\n"
    ),
    "stale workspace": wrapped(
        "kept = []\n\ndef kernel_function(A, B):\n    if len(kept) < 3:\n        kept.append(honest(A, B))\n"
        "        return kept[-1]\n    honest(A[:1], B)\n    return kept[-1].clone()\n"
    ),
    "input written": wrapped("def kernel_function(A, B):\n    y = honest(A, B)\n    A[0, :8].zero_()\n    return y\n"),
    "side stream": wrapped(
        "def kernel_function(A, B):\n    with torch.cuda.stream(torch.cuda.Stream()):\n        return honest(A, B)\n"
    ),
}  # fmt: skip

RIGHT = {
    "seed": SEED,
    "larger blocks": changed(("BLOCK_K=256", "BLOCK_K=2048")),
    "autotuned": changed((
        "@triton.jit\n",
        "@triton.autotune(configs=[triton.Config({}, num_warps=4), triton.Config({}, num_warps=8)], key=['K'])\n"
        "@triton.jit\n",
    ), (", num_warps=4)", ")")),
    "two launches and fills": wrapped(
        "def kernel_function(A, B):\n    y = torch.zeros((A.shape[0], 1), dtype=A.dtype, device=A.device)\n"
        "    half = A.shape[0] // 2\n    y[:half].copy_(honest(A[:half], B))\n    y[half:].copy_(honest(A[half:], B))\n"
        "    return y\n"
    ),
    "kept workspace": wrapped(
        "kept = {}\n\ndef kernel_function(A, B):\n    if B.shape not in kept:\n"
        "        kept[B.shape] = torch.empty_like(B)\n    kept[B.shape].copy_(B)\n    return honest(A, kept[B.shape])\n"
    ),
    "a view": wrapped("def kernel_function(A, B):\n    return honest(A, B).view(1, -1).t()\n"),
}  # fmt: skip


@pytest.fixture(scope="module")
def judged():
    SENTINEL.write_text("here")
    sources = {**FAULTS, **WRONG, **RIGHT}
    uuid, verdicts = judge([(MATVEC, source) for source in sources.values()])
    return uuid, dict(zip(sources, verdicts, strict=True))


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_costs_its_own_slot(judged, name):
    assert isinstance(judged[1][name].verdict, Failed), judged[1][name].verdict


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_kernel_does_not_pass(judged, name):
    assert isinstance(judged[1][name].verdict, Failed | Incorrect), judged[1][name].verdict


@pytest.mark.parametrize("name", RIGHT)
def test_an_honest_kernel_passes_beside_faulty_ones(judged, name):
    one = judged[1][name]
    assert isinstance(one.verdict, Passed), one.verdict
    assert len(one.verdict.checks) >= 5
    assert len({check.distribution for check in one.verdict.checks}) >= 3
    assert one.timing is not None
    assert one.timing.environment is not None


def test_the_seed_is_as_fast_as_itself(judged):
    (workload,) = judged[1]["seed"].timing.workloads
    assert workload.ratio == pytest.approx(1.0, abs=0.02)


def test_no_secret_reaches_a_candidate(judged):
    assert "ValueError: []" in judged[1]["environment"].verdict.reason


def test_nothing_outside_its_folder_can_be_removed(judged):
    assert SENTINEL.read_text() == "here"


def test_nothing_is_left_on_the_device(judged):
    assert Clocks(judged[0]).used_bytes() < 1 << 30


def test_every_seed_passes_at_full_size():
    problems = [load(PROBLEMS / name) for name in names(PROBLEMS)]
    _, judged = judge([(problem, problem.seed.source) for problem in problems])
    failed = {p.name: one.verdict for p, one in zip(problems, judged, strict=True) if one.timing is None}
    assert not failed


def test_a_kernel_launches_what_the_cpu_stage_made_of_its_source(judged, tmp_path):
    built = {name: build(source, tmp_path) for name, source in RIGHT.items()}
    _, again = judge([(MATVEC, source) for source in RIGHT.values()], [built[name] for name in RIGHT], tmp_path)
    assert [type(one.verdict) for one in again] == [Passed] * len(RIGHT)


def test_an_argument_that_follows_from_addresses_may_specialise_a_kernel_otherwise_than_on_the_cpu(tmp_path):
    """Triton makes a constant of an argument that is 1: what the CPU stage compiled has the argument, or lacks it."""
    changes = [
        ("def matvec_kernel(", "def matvec_kernel(distance, "),
        ("matvec_kernel[(M,)](", "matvec_kernel[(M,)](1 + (A.data_ptr() >> 21) % 3, "),
        ("tl.store(y_ptr + row", "tl.store(y_ptr + row + distance - distance"),
    ]
    source = SEED
    for before, after in changes:
        assert before in source
        source = source.replace(before, after)
    built = build(source, tmp_path)
    for workload in built["workloads"]:
        for launch in workload["launches"]:
            launch["cubin"] = "0" * 64
    _, (one,) = judge([(MATVEC, source)], [built], tmp_path)
    assert isinstance(one.verdict, Passed), one.verdict


def test_a_kernel_that_launches_anything_else_does_not_pass(tmp_path):
    """Where memory is allocated, the source launches another block size than the CPU stage saw."""
    source = SEED.replace("BLOCK_K=256", "BLOCK_K=512 if torch.cuda.memory_allocated() else 256")
    _, (one,) = judge([(MATVEC, source)], [build(source, tmp_path)], tmp_path)
    assert isinstance(one.verdict, Failed), one.verdict
    assert "does not compile to" in one.verdict.reason


def test_what_was_computed_in_earlier_calls_cannot_be_used_again():
    """The memory of a call is new; if it were not, new inputs would tell."""
    exploits = PROBLEMS.parents[1] / "tests" / "exploits"
    memo = (exploits / "memo_in_workspace.py").read_text()
    honest = (exploits / "honest" / "row_per_program.py").read_text()
    _, (one, yardstick) = judge([(MATVEC, memo), (MATVEC, honest)])
    assert one.timing is not None, one.verdict
    assert one.timing.objective_ms > 0.95 * yardstick.timing.objective_ms
    _, (one, yardstick) = judge([(MATVEC, memo), (MATVEC, honest)], before=OLD_MEMORY)
    assert isinstance(one.verdict, Failed), one
    assert one.verdict.phase is Phase.REUSE, one.verdict
    assert isinstance(yardstick.verdict, Passed)


def test_a_kernel_that_writes_to_the_memory_of_the_judge_harms_no_other():
    source = wrapped(
        "import gc\nfrom kopt.device.cuda.sharing import ipc\nfrom kopt.device.cuda.sharing.sheets import Sheet\n\n"
        "def kernel_function(A, B):\n"
        "    for sheet in [one for one in gc.get_objects() if isinstance(one, Sheet)]:\n"
        "        [ipc.open_shared(one).tensor.zero_() for one in sheet.arguments.values()]\n"
        "    return honest(A, B)\n"
    )
    _, (one, other) = judge([(MATVEC, source), (MATVEC, SEED)])
    assert isinstance(other.verdict, Passed), other.verdict
    assert one.verdict.phase is Phase.MUTATION, one.verdict


CASES = PROBLEMS.parents[1] / "tests" / "cases"
OF_THE_CONTRACT = (
    "any_strides", "default_shadowed_by_constant", "eight_bit_floats", "float64", "fused_add_norm_in_place",
    "large_integers", "mutated_input_not_judged", "nested_outputs", "only_changes_an_input",
    "optional_and_nested_arguments", "other_strides", "running_statistics", "scalar_loss",
    "sliced_and_expanded_inputs", "softmax_of_a_transposed_input", "tuple_add_norm",
)  # fmt: skip
"""Cases of outputs, arguments, dtypes and strides."""


def entries_of(name: str) -> tuple[Problem, dict[str, bool]]:
    """The problem of a case, with a right kernel as its seed, and by file whether the kernel is right."""
    wanted = yaml.safe_load((CASES / name / "case.yaml").read_text())
    right = {file: one["ends"] == "passed" for file, one in wanted.items()}
    source = (CASES / name / next(file for file in right if right[file])).read_text()
    return load(CASES / name).model_copy(update={"seed": Kernel(source=source)}), right


ENTRIES = {(name, file): right for name in OF_THE_CONTRACT for file, right in entries_of(name)[1].items()}


@pytest.fixture(scope="module")
def of_the_contract():
    problems = {name: entries_of(name)[0] for name in OF_THE_CONTRACT}
    _, judged = judge([(problems[name], (CASES / name / file).read_text()) for name, file in ENTRIES])
    return dict(zip(ENTRIES, judged, strict=True))


@pytest.mark.parametrize(("name", "file"), ENTRIES)
def test_outputs_and_changed_arguments_are_compared_one_by_one(of_the_contract, name, file):
    one = of_the_contract[name, file]
    assert isinstance(one.verdict, Passed) == ENTRIES[name, file], one.verdict
    assert (one.timing is not None) == ENTRIES[name, file]


FINALS = """
import json, sys
from kopt.device.cuda.finals import FinalsPlan
from kopt.device.cuda.judge import CudaJob, ProblemOnDevice, measure_finalists
from kopt.device.hardware.peaks import describe_device
from kopt.device.facts.facts import problem_facts

job = CudaJob.model_validate(json.load(sys.stdin))
plan = FinalsPlan(baselines=("eager", "compile"), warmup=3, repeat=8, processes=2)
finals = measure_finalists({"best": job}, ProblemOnDevice(problem_facts(job.problem), describe_device()), plan=plan)
print(json.dumps([sorted(finals.timings), finals.verdicts["best"].model_dump(mode="json")]))
"""


@pytest.mark.parametrize("name", ["fused_add_norm_in_place", "nested_outputs", "running_statistics"])
def test_baselines_are_timed_beside_a_kernel_that_changes_arguments_or_returns_several_tensors(name):
    problem, _ = entries_of(name)
    job = {"kernel": problem.seed.model_dump(), "problem": problem.model_dump(mode="json"), "seed": 7}
    done = subprocess.run([sys.executable, "-c", FINALS], input=json.dumps(job), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    names, verdict = json.loads(done.stdout.splitlines()[-1])
    assert (names, verdict["verdict"]) == (["best", "compile", "eager"], "passed"), verdict


QUEUED = """
import json, sys
from kopt.device.cuda.finals import FinalsPlan
from kopt.device.cuda.judge import CudaJob, ProblemOnDevice, measure_finalists
from kopt.device.facts.facts import problem_facts
from kopt.device.hardware.peaks import describe_device

job = CudaJob.model_validate(json.load(sys.stdin))
plan = FinalsPlan(baselines=("eager",), warmup=3, repeat=10, processes=1)
finals = measure_finalists({"best": job}, ProblemOnDevice(problem_facts(job.problem), describe_device()), plan=plan)
timed = finals.timings["eager"].workloads[0]
print(json.dumps([timed.median_ms, timed.wall_ms]))
"""


def test_a_reference_of_many_small_operations_takes_the_time_of_the_device_not_of_the_host():
    loop = "for _ in range(400):\n            x = -x\n        return x * self"
    many = SCALE.reference.replace("return x * self", loop)
    assert many != SCALE.reference
    problem = SCALE.model_copy(update={"reference": many})
    job = {"kernel": problem.seed.model_dump(), "problem": problem.model_dump(mode="json"), "seed": 7}
    done = subprocess.run([sys.executable, "-c", QUEUED], input=json.dumps(job), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    device_ms, wall_ms = json.loads(done.stdout.splitlines()[-1])
    assert device_ms < 0.7 * wall_ms


COMPILED_ONCE = """
import json, logging, sys, tempfile
from pathlib import Path
from kopt.device.cuda.finals import FinalsPlan
from kopt.device.cuda.judge import CudaJob, ProblemOnDevice, measure_finalists
from kopt.device.facts.facts import problem_facts
from kopt.device.hardware.peaks import describe_device
from kopt.store import Store

job = CudaJob.model_validate(json.load(sys.stdin))
plan = FinalsPlan(baselines=("compile", "max-autotune"), warmup=3, repeat=8, processes=2)
store, gpu, facts = Store(Path(tempfile.mkdtemp())), describe_device(), problem_facts(job.problem)
logging.basicConfig(level=logging.INFO, stream=sys.stderr)
for turn in range(2):
    print(f"turn {turn}", file=sys.stderr)
    finals = measure_finalists({"best": job}, ProblemOnDevice(facts, gpu, store), plan=plan)
    print(json.dumps([sorted(finals.timings), finals.timings["max-autotune"].compilations_ms]))
"""


def test_what_torch_compiled_is_found_in_the_store_by_the_next_measurement():
    problem, _ = entries_of("nested_outputs")
    job = {"kernel": problem.seed.model_dump(), "problem": problem.model_dump(mode="json"), "seed": 7}
    done = subprocess.run([sys.executable, "-c", COMPILED_ONCE], input=json.dumps(job), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    for line in done.stdout.splitlines()[-2:]:
        names, compilations_ms = json.loads(line)
        assert names == ["best", "compile", "max-autotune"]
        assert len(compilations_ms) == 2
    first, second = done.stderr.split("turn 1\n")
    assert len(re.findall(r": compiled, [1-9]\d* bytes", first)) == 3
    assert ": compiled, " not in second
    graphs = re.findall(r"(\d+) graphs compiled before, (\d+) compiled now", second)
    assert len(graphs) == 2 * 3  # two processes, three compilations
    assert all(int(before) > 0 and now == "0" for before, now in graphs), graphs


OLD_MEMORY = """
from kopt.device.cuda.recording.replay import Replay

Replay.memory = lambda replay: {}
"""


BUILD = """
import json, sys
from pathlib import Path
from kopt.load_config import load_device
from kopt.device.build.build import BuildJob, build_all
from kopt.store import Store

job = BuildJob.model_validate(json.load(sys.stdin) | {"device": load_device("h100", Path(sys.argv[1])).model_dump()})
print(dict(build_all([job], store=Store(Path(sys.argv[2])), workers=1))[0].model_dump_json())
"""


def build(source: str, store: Path):
    """What the CPU stage makes of a source, in a process that sees no GPU."""
    job = {"kernel": Kernel(source=source).model_dump(), "problem": MATVEC.model_dump(mode="json")}
    done = subprocess.run(
        [sys.executable, "-c", BUILD, str(PROBLEMS.parents[1]), str(store)],
        input=json.dumps(job), capture_output=True, text=True, env={**os.environ, "CUDA_VISIBLE_DEVICES": ""},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])
