import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from pydantic import TypeAdapter

from kopt.model.kernel import Kernel
from kopt.model.problem import Problem, Workload
from kopt.model.verdict import Failed, Incorrect, Passed, Verdict
from kopt.problem.folder import load, names

PROBLEMS = Path(__file__).parents[2] / "config" / "problems"
VERDICT: TypeAdapter[Verdict] = TypeAdapter(Verdict)

RUN = """
import json, sys
from kopt.device.cage import Limits
from kopt.device.interpret import VerifyJob, verify_all

jobs = [VerifyJob.model_validate(job) for job in json.load(sys.stdin)]
verdicts = {i: v.model_dump(mode="json") for i, v in verify_all(jobs, workers=2, limits=Limits(wall_s=8))}
print(json.dumps([verdicts[i] for i in range(len(jobs))]))
"""
"""Judging needs a process of its own: Triton's interpreter is chosen when Triton is imported."""


def judge_all(jobs: list[tuple[Problem, str]], hash_seed: str = "0") -> list[Verdict]:
    texts = [
        {"kernel": Kernel(source=source).model_dump(), "problem": problem.model_dump(mode="json"), "seed": 7}
        for problem, source in jobs
    ]
    done = subprocess.run(
        [sys.executable, "-c", RUN],
        input=json.dumps(texts),
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONHASHSEED": hash_seed},
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return [VERDICT.validate_python(one) for one in json.loads(done.stdout.splitlines()[-1])]


MATVEC = load(PROBLEMS / "matvec").model_copy(
    update={
        "small": (
            Workload(name="tiles", constants={"M": 8, "K": 2048}),
            Workload(name="ragged", constants={"M": 5, "K": 1160}),
        )
    }
)
"""Smaller than the problem's own small workloads, which the seed kernels are judged on."""

AUTOTUNE = "@triton.autotune(configs=[triton.Config({}), triton.Config({}, num_warps=8)], key=['K'])\n@triton.jit"
HEADER = "import torch\nimport triton\nimport triton.language as tl\n\n"
SEED = (
    HEADER
    + """
@triton.jit
def matvec_kernel(a_ptr, b_ptr, y_ptr, K, stride_am, stride_bk, BLOCK_K: tl.constexpr):
    row = tl.program_id(0).to(tl.int64)
    offsets = tl.arange(0, BLOCK_K)
    acc = tl.zeros((BLOCK_K,), dtype=tl.float32)
    for k in range(0, K, BLOCK_K):
        mask = k + offsets < K
        a = tl.load(a_ptr + row * stride_am + k + offsets, mask=mask, other=0.0)
        b = tl.load(b_ptr + (k + offsets) * stride_bk, mask=mask, other=0.0)
        acc += a.to(tl.float32) * b.to(tl.float32)
    y = tl.sum(acc, axis=0)
    tl.store(y_ptr + row, y.to(y_ptr.dtype.element_ty))


def kernel_function(A, B):
    M, K = A.shape
    y = torch.empty((M, 1), dtype=A.dtype, device=A.device)
    matvec_kernel[(M,)](A, B, y, K, A.stride(0), B.stride(0), BLOCK_K=1024, num_warps=4)
    return y
"""
)


def changed(*replacements: tuple[str, str]) -> str:
    source = SEED
    for old, new in replacements:
        assert old in source
        source = source.replace(old, new)
    return source


def wrapped(body: str) -> str:
    """The seed, with `kernel_function` renamed to `honest` and another one in its place."""
    return SEED.replace("def kernel_function(", "def honest(") + "\n\n" + body


NEVER_STORED = changed(("    tl.store(y_ptr + row,", "    if row < 0:\n        tl.store(y_ptr + row,"))

WRONG = {
    "hang": (wrapped("def kernel_function(A, B):\n    while True: pass\n"), Failed),
    "constant": (changed(("y.to(y_ptr", "(y * 0 + 1).to(y_ptr")), Incorrect),
    "zeros": (changed(("y.to(y_ptr", "(y * 0).to(y_ptr")), Incorrect),
    "99 % of the work": (
        changed(("range(0, K, BLOCK_K)", "range(0, K - K // 100, BLOCK_K)"), ("< K\n", "< K - K // 100\n")),
        Incorrect,
    ),
    "mask removed": (changed((", mask=mask, other=0.0", "")), Failed),
    "last tile dropped": (changed(("range(0, K, BLOCK_K)", "range(0, K // BLOCK_K * BLOCK_K, BLOCK_K)")), Incorrect),
    "mask without other": (changed((", other=0.0", "")), Incorrect),
    "wrong stride": (changed(("a_ptr + row * stride_am", "a_ptr + row * (stride_am - 8)")), Incorrect),
    "nothing stored": (NEVER_STORED, Incorrect),
    "one row missing": (changed(("[(M,)]", "[(M - 1,)]")), Incorrect),
    "8-bit precision": (changed(("a.to(tl.float32) *", "a.to(tl.float8e4nv).to(tl.float32) *")), Incorrect),
    "result of torch": (wrapped("def kernel_function(A, B):\n    honest(A, B)\n    return A @ B\n"), Failed),
    "result of torch behind a kernel that copies": (
        wrapped("def kernel_function(A, B):\n    return honest(A @ B, torch.ones_like(B[:1]))\n"),
        Failed,
    ),
    "result of torch in pieces": (
        wrapped("""
def kernel_function(A, B):
    honest(A, B)
    y = torch.zeros((A.shape[0], 1))
    for row in range(A.shape[0]):
        for k in range(0, A.shape[1], 64):
            y[row] += A[row, k : k + 64].float() @ B[k : k + 64, 0].float()
    return y.to(A.dtype)
"""),
        Incorrect,
    ),
    "result of NumPy": (
        wrapped(
            "def kernel_function(A, B):\n    y = A.float().numpy() @ B.float().numpy()\n"
            "    return honest(torch.from_numpy(y).to(A.dtype), torch.ones_like(B[:1]))\n"
        ),
        Failed,
    ),
    "torch only": (wrapped("def kernel_function(A, B):\n    return A @ B\n"), Failed),
    "cached output": (
        wrapped("""
first = []
def kernel_function(A, B):
    first or first.append(honest(A, B))
    return first[0][:A.shape[0]]
"""),
        Failed,
    ),
    "stale output": (
        wrapped("""
first = []
def kernel_function(A, B):
    first.append(honest(A, B))
    return first[0][:A.shape[0]]
"""),
        Incorrect,
    ),
    "input written": (
        wrapped("def kernel_function(A, B):\n    y = honest(A, B)\n    A.zero_()\n    return y\n"),
        Failed,
    ),
    "wrong dtype": (changed(("dtype=A.dtype", "dtype=torch.float32")), Failed),
    "wrong shape": (changed(("return y", "return y.view(-1)")), Failed),
    "tuple": (changed(("return y", "return (y,)")), Failed),
    "subclass": (changed(("return y", "return torch.nn.Parameter(y, requires_grad=False)")), Failed),
    "nothing": (changed(("return y", "return None")), Failed),
    "NaN": (changed(("y.to(y_ptr", "(y * float('nan')).to(y_ptr")), Incorrect),
    "sys.exit": (wrapped("import sys\ndef kernel_function(A, B):\n    sys.exit(0)\n"), Failed),
    "os._exit": (wrapped("import os\ndef kernel_function(A, B):\n    os._exit(0)\n"), Failed),
    "exit at import": (SEED + "\nimport os\nos._exit(0)\n", Failed),
    "forged verdict": (
        wrapped(
            'import os\ndef kernel_function(A, B):\n    print(\'{"verdict": "passed"}\')\n'
            "    for descriptor in range(3, 64):\n        try: os.write(descriptor, b'passed')\n"
            "        except OSError: pass\n    os._exit(0)\n"
        ),
        Failed,
    ),
    "raises": (wrapped("def kernel_function(A, B):\n    raise RuntimeError('no luck')\n"), Failed),
    "no entry": (SEED.replace("def kernel_function(", "def other("), Failed),
    "out of bounds": (changed(("tl.store(y_ptr + row,", "tl.store(y_ptr + row + 1,")), Failed),
    "inline assembly": (
        changed(
            (
                "    tl.store(y_ptr",
                "    y = tl.inline_asm_elementwise('mov.b32 $0, $1;', '=r,r', [y], tl.float32, is_pure=True, pack=1)\n"
                "    tl.store(y_ptr",
            )
        ),
        Failed,
    ),
    "one bad configuration": (
        changed(
            ("@triton.jit", AUTOTUNE.format("{'BLOCK_K': 1024, 'SKIP': 0}", "{'BLOCK_K': 2048, 'SKIP': 1}")),
            ("BLOCK_K: tl.constexpr):", "BLOCK_K: tl.constexpr, SKIP: tl.constexpr):"),
            ("range(0, K, BLOCK_K)", "range(0, K - SKIP * BLOCK_K, BLOCK_K)"),
            (", BLOCK_K=1024, num_warps=4", ""),
        ),
        Incorrect,
    ),
}

RIGHT = {
    "device by name": changed(("device=A.device", "device='cuda'")),
    "asks the device": changed(
        (
            "    M, K = A.shape\n",
            "    M, K = A.shape\n    assert A.is_cuda and A.device.type == 'cuda'\n"
            "    assert torch.cuda.get_device_properties(A.device).multi_processor_count > 0\n"
            "    assert triton.runtime.driver.active.get_current_target().arch == 90\n",
        )
    ),
    "range options and hints": changed(
        ("range(0, K, BLOCK_K)", "tl.range(0, K, BLOCK_K, num_stages=4, loop_unroll_factor=2, warp_specialize=True)"),
        (
            "offsets, mask=mask, other=0.0)",
            "offsets, mask, other=0.0, eviction_policy='evict_first', cache_modifier='.cg')",
        ),
        ("= tl.arange(0, BLOCK_K)\n", "= tl.max_contiguous(tl.arange(0, BLOCK_K), BLOCK_K)\n    tl.assume(K > 0)\n"),
    ),
    "autotuned": changed(
        ("@triton.jit", AUTOTUNE.format("{'BLOCK_K': 1024}", "{'BLOCK_K': 4096}")),
        (", BLOCK_K=1024, num_warps=4", ""),
    ),
    "block pointers": HEADER
    + """
@triton.jit
def kernel(a_ptr, b_ptr, y_ptr, M, K, BLOCK: tl.constexpr):
    row = tl.program_id(0)
    a_block = tl.make_block_ptr(a_ptr, (M, K), (K, 1), (row, 0), (1, BLOCK), (1, 0))
    acc = tl.zeros((1, BLOCK), tl.float32)
    for k in range(0, K, BLOCK):
        a = tl.load(a_block, boundary_check=(1,), padding_option="zero")
        b = tl.load(b_ptr + k + tl.arange(0, BLOCK), mask=k + tl.arange(0, BLOCK) < K, other=0.0)
        acc += a.to(tl.float32) * b[None, :].to(tl.float32)
        a_block = tl.advance(a_block, (0, BLOCK))
    tl.store(y_ptr + row + tl.arange(0, 1), tl.sum(acc, axis=1))

def kernel_function(A, B):
    y = torch.empty((A.shape[0], 1), dtype=A.dtype, device=A.device)
    kernel[(A.shape[0],)](A, B, y, A.shape[0], A.shape[1], BLOCK=2048)
    return y
""",
    "tensor descriptors, persistent": HEADER
    + """
@triton.jit
def kernel(a_ptr, b_ptr, y_ptr, M, K, ROWS: tl.constexpr, BLOCK: tl.constexpr):
    a_desc = tl.make_tensor_descriptor(a_ptr, shape=[M, K], strides=[K, 1], block_shape=[ROWS, BLOCK])
    for tile in tl.range(tl.program_id(0), tl.cdiv(M, ROWS), tl.num_programs(0), flatten=True):
        acc = tl.zeros((ROWS,), tl.float32)
        for k in range(0, K, BLOCK):
            a = a_desc.load([tile * ROWS, k])
            b = tl.load(b_ptr + k + tl.arange(0, BLOCK), mask=k + tl.arange(0, BLOCK) < K, other=0.0)
            acc += tl.sum(a.to(tl.float32) * b[None, :].to(tl.float32), axis=1)
        rows = tile * ROWS + tl.arange(0, ROWS)
        tl.store(y_ptr + rows, acc.to(tl.bfloat16), mask=rows < M)

def kernel_function(A, B):
    triton.set_allocator(lambda size, align, stream: torch.empty(size, dtype=torch.int8, device="cuda"))
    y = torch.empty((A.shape[0], 1), dtype=A.dtype, device=A.device)
    kernel[(132,)](A, B, y, A.shape[0], A.shape[1], ROWS=4, BLOCK=1024, num_warps=8, num_stages=3)
    return y
""",
    "split-K with atomics and a second kernel": HEADER
    + """
@triton.jit
def part(a_ptr, b_ptr, w_ptr, K, BLOCK: tl.constexpr, SPLIT: tl.constexpr):
    row = tl.program_id(0)
    acc = tl.zeros((BLOCK,), tl.float32)
    for k in range(tl.program_id(1) * BLOCK, K, BLOCK * SPLIT):
        at = k + tl.arange(0, BLOCK)
        a = tl.load(a_ptr + row * K + at, mask=at < K, other=0.0)
        b = tl.load(b_ptr + at, mask=at < K, other=0.0)
        acc += a.to(tl.float32) * b.to(tl.float32)
    tl.atomic_add(w_ptr + row, tl.sum(acc, axis=0))

@triton.jit
def finish(w_ptr, y_ptr, M, BLOCK: tl.constexpr):
    at = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    tl.store(y_ptr + at, tl.load(w_ptr + at, mask=at < M).to(y_ptr.dtype.element_ty), mask=at < M)

def kernel_function(A, B):
    M, K = A.shape
    w = torch.zeros((M,), dtype=torch.float32, device=A.device)
    y = torch.empty((M, 1), dtype=A.dtype, device=A.device)
    part[(M, 4)](A, B, w, K, BLOCK=512, SPLIT=4)
    finish[(triton.cdiv(M, 256),)](w, y, M, BLOCK=256)
    return y
""",
    "a reduction of its own, the device library": HEADER
    + """
from triton.language.extra import libdevice

@triton.jit
def plus(a, b):
    return a + b

@triton.jit
def kernel(a_ptr, b_ptr, y_ptr, K, BLOCK: tl.constexpr):
    row = tl.program_id(0)
    acc = tl.zeros((BLOCK,), tl.float32)
    for k in range(0, K, BLOCK):
        at = k + tl.arange(0, BLOCK)
        a = tl.load(a_ptr + row * K + at, mask=at < K, other=0.0)
        b = tl.load(b_ptr + at, mask=at < K, other=0.0)
        acc = libdevice.fma(a.to(tl.float32), b.to(tl.float32), acc)
    tl.store(y_ptr + row, tl.reduce(acc, 0, plus))

def kernel_function(A, B):
    y = torch.empty((A.shape[0], 1), dtype=A.dtype, device=A.device)
    kernel[(A.shape[0],)](A, B, y, A.shape[1], BLOCK=1024)
    return y
""",
    "a product on tensor cores": HEADER
    + """
@triton.jit
def kernel(a_ptr, b_ptr, y_ptr, M, K, BLOCK: tl.constexpr):
    rows = tl.program_id(0) * 16 + tl.arange(0, 16)
    acc = tl.zeros((16, 16), tl.float32)
    for k in range(0, K, BLOCK):
        at = k + tl.arange(0, BLOCK)
        a = tl.load(a_ptr + rows[:, None] * K + at[None, :], mask=(rows[:, None] < M) & (at[None, :] < K), other=0.0)
        b = tl.load(b_ptr + at, mask=at < K, other=0.0)
        acc = tl.dot(a, tl.where(tl.arange(0, 16)[None, :] == 0, b[:, None], 0.0).to(a.dtype), acc)
    tl.store(y_ptr + rows, tl.sum(acc, axis=1), mask=rows < M)

def kernel_function(A, B):
    y = torch.empty((A.shape[0], 1), dtype=A.dtype, device=A.device)
    kernel[(triton.cdiv(A.shape[0], 16),)](A, B, y, A.shape[0], A.shape[1], BLOCK=256)
    return y
""",
}


@pytest.fixture(scope="module")
def verdicts() -> dict[str, Verdict]:
    """Verdicts of all candidates on matvec, and of the seed kernel of every problem, from one run."""
    seeds = {name: load(PROBLEMS / name) for name in names(PROBLEMS)}
    jobs = {f"wrong {name}": (MATVEC, source) for name, (source, _) in WRONG.items()}
    jobs |= {f"seed {name}": (problem, problem.seed.source) for name, problem in seeds.items()}
    jobs |= {f"right {name}": (MATVEC, source) for name, source in RIGHT.items()}
    return dict(zip(jobs, judge_all(list(jobs.values())), strict=True))


@pytest.mark.parametrize("name", names(PROBLEMS))
def test_seed_kernel_passes(verdicts: dict[str, Verdict], name: str) -> None:
    assert isinstance(verdicts[f"seed {name}"], Passed), verdicts[f"seed {name}"]


def test_passing_means_five_checks_over_three_distributions(verdicts: dict[str, Verdict]) -> None:
    for verdict in verdicts.values():
        if isinstance(verdict, Passed):
            assert len(verdict.checks) >= 5
            assert len({check.distribution for check in verdict.checks}) >= 3
            assert all(check.max_error <= check.allowed for check in verdict.checks)


@pytest.mark.parametrize("name", RIGHT)
def test_correct_kernel_passes(verdicts: dict[str, Verdict], name: str) -> None:
    assert isinstance(verdicts[f"right {name}"], Passed), verdicts[f"right {name}"]


@pytest.mark.parametrize("name", WRONG)
def test_wrong_kernel_is_caught(verdicts: dict[str, Verdict], name: str) -> None:
    assert isinstance(verdicts[f"wrong {name}"], WRONG[name][1]), verdicts[f"wrong {name}"]


@pytest.mark.parametrize(
    ("name", "phase", "words"),
    [
        ("torch only", "fallback", "torch computes"),
        ("result of torch", "fallback", "torch computes"),
        ("result of torch behind a kernel that copies", "fallback", "aten.mm"),
        ("result of NumPy", "fallback", "to the host"),
        ("input written", "mutation", "input A"),
        ("wrong dtype", "contract", "must be bfloat16, got float32"),
        ("wrong shape", "contract", "(8, 1)"),
        ("tuple", "contract", "tuple"),
        ("subclass", "contract", "Parameter"),
        ("sys.exit", "crash", "SystemExit"),
        ("os._exit", "crash", "exited with status 0"),
        ("hang", "timeout", "8 s"),
        ("raises", "interpret", "no luck"),
        ("no entry", "entry", "kernel_function"),
        ("out of bounds", "interpret", "outside every tensor"),
        ("mask removed", "interpret", "outside every tensor"),
        ("inline assembly", "interpret", "inline_asm"),
    ],
)
def test_failure_names_phase_and_reason(verdicts: dict[str, Verdict], name: str, phase: str, words: str) -> None:
    verdict = verdicts[f"wrong {name}"]
    assert isinstance(verdict, Failed)
    assert (verdict.phase, words in verdict.reason) == (phase, True), verdict


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("zeros", "got 0"),
        ("nothing stored", "are not finite"),
        ("last tile dropped", "elements are wrong"),
        ("one row missing", "1 of 8 elements"),
        ("result of torch in pieces", "every kernel launch left out"),
    ],
)
def test_incorrect_says_where_and_how(verdicts: dict[str, Verdict], name: str, words: str) -> None:
    verdict = verdicts[f"wrong {name}"]
    assert isinstance(verdict, Incorrect)
    assert words in verdict.reason, verdict


def test_same_job_gives_the_same_verdict_in_another_process(verdicts: dict[str, Verdict]) -> None:
    names_and_jobs = {"wrong one row missing": WRONG["one row missing"][0], "right autotuned": RIGHT["autotuned"]}
    again = judge_all([(MATVEC, source) for source in names_and_jobs.values()], hash_seed="123")
    assert again == [verdicts[name] for name in names_and_jobs]
