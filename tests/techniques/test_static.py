import ast
import textwrap
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from kopt.model.build import Launch
from kopt.model.device import Device
from kopt.model.technique import Technique
from kopt.techniques.source import dead_kernels
from kopt.techniques.static import classify
from kopt.techniques.taxonomy import load

ROOT = Path(__file__).parents[2]
TAXONOMY = load(ROOT / "config" / "techniques.yaml")
H100 = Device(**yaml.safe_load((ROOT / "config/devices/h100.yaml").read_text()))
PTX = ROOT / "tests/device/estimate_fixtures"


def launch(kernel="k", grid=(2048, 1, 1), **more):
    fields = {
        "num_warps": 4, "num_stages": 3, "num_ctas": 1, "shared_bytes": 0, "registers": 32, "spills": 0,
        "signature": (),
    }  # fmt: skip
    return Launch(kernel=kernel, grid=grid, **(fields | more))


def vector(source, ptx=(), launches=()):
    return classify(textwrap.dedent(source), ptx, launches, TAXONOMY, device=H100)


def kernel(
    body, parameters="x, y, M, N, K, BLOCK: tl.constexpr, GROUP: tl.constexpr, NUM_SMS: tl.constexpr", before=""
):
    body = textwrap.indent(textwrap.dedent(body), "    ")
    return f"import triton\nimport triton.language as tl\n\n{before}@triton.jit\ndef k({parameters}):\n{body}\n"


SPLIT_K = """
import torch, triton, triton.language as tl

@triton.jit
def partial(a, part, K, KS, BLOCK: tl.constexpr):
    s = tl.program_id(1)
    acc = tl.zeros((BLOCK,), dtype=tl.float32)
    for k in range(s * KS, s * KS + KS, BLOCK):
        acc += tl.load(a + k + tl.arange(0, BLOCK))
    tl.store(part + s, tl.sum(acc, 0))

@triton.jit
def combine(part, y, S: tl.constexpr):
    values = tl.load(part + tl.arange(0, S))
    tl.store(y, tl.sum(values, 0))

def kernel_function(a):
    part = torch.empty(4)
    y = torch.empty(1)
    partial[(1, 4)](a, part, 8, 2, 16)
    combine[(1,)](part, y, 4)
    return y
"""

USES = [
    ("split_k_reduce", SPLIT_K),
    ("tensor_cores", kernel("acc = tl.dot(tl.load(x), tl.load(y))")),
    ("software_pipelining", kernel("for i in tl.range(0, K, BLOCK, num_stages=3):\n    a = tl.load(x + i)")),
    ("swizzled_load", kernel("o = tl.arange(0, 64)\na = tl.load(x + (o ^ (o // 8)))")),
    ("persistent_kernel", kernel("for t in range(tl.program_id(0), N, tl.num_programs(0)):\n    tl.store(y + t, 1.0)")),
    ("persistent_kernel", kernel("for t in range(tl.program_id(0), N, NUM_SMS):\n    tl.store(y + t, 1.0)")),
    ("persistent_kernel", kernel("t = tl.program_id(0)\nwhile t < N:\n    tl.store(y + t, 1.0)\n    t += NUM_SMS")),
    ("autotuned_config", kernel("pass", before="@triton.autotune([Config({}), Config({})], key=[])\n")),
    ("masked_access", kernel("a = tl.load(x, mask=M > 0)")),
    ("masked_access", kernel("tl.store(y, 1.0, M > 0)")),
    ("atomic_reduction", kernel("tl.atomic_add(y, 1.0)")),
    ("precision_split", kernel("a = tl.load(x).to(tl.float32)\ntl.store(y, (a * a).to(tl.bfloat16))")),
    ("warp_specialization", kernel("for t in tl.range(0, N, warp_specialize=True):\n    pass")),
    ("grid_swizzling", kernel("p = tl.program_id(0)\nm = (p % (GROUP * N)) % GROUP\ntl.store(y + m, 1.0)")),
    ("grid_swizzling", kernel("p = tl.program_id(0)\nm, n = tl.swizzle2d(p // N, p % N, M, N, GROUP)")),
    ("epilogue_fusion", kernel("acc = 0.0\nfor i in range(K):\n    acc += tl.load(x + i)\ntl.store(y, acc * 0.5)")),
    ("loop_unrolling", kernel("for i in tl.static_range(4):\n    pass")),
    ("loop_unrolling", kernel("for i in tl.range(0, N, loop_unroll_factor=4):\n    pass")),
    ("async_copy_tma", kernel("d = tl.make_tensor_descriptor(x, [M], [1], [64])")),
    ("vectorized_load", kernel("o = tl.max_contiguous(tl.arange(0, 64), 64)")),
    ("shared_memory_tiling", kernel("acc = tl.dot(tl.load(x), tl.load(y))")),
]  # fmt: skip

NO_SPLIT_K = SPLIT_K.replace("tl.sum(values, 0)", "values").replace("](a, part,", "](a, y,")

AVOIDS = [
    ("split_k_reduce", NO_SPLIT_K),
    ("persistent_kernel", kernel("for k in range(0, K, BLOCK):\n    a = tl.load(x + k)")),
    ("persistent_kernel", kernel("p = tl.program_id(0)\nfor k in range(p * K, N, BLOCK):\n    a = tl.load(x + k)")),
    ("autotuned_config", kernel("pass", before="@triton.autotune(configs=[triton.Config({})], key=[])\n")),
    ("masked_access", kernel("a = tl.load(x, mask=None)")),
    ("grid_swizzling", kernel("p = tl.program_id(0)\nm = p // N\nn = p % N\ntl.store(y + m + n, 1.0)")),
    ("epilogue_fusion", kernel("acc = 0.0\nfor i in range(K):\n    acc += tl.load(x + i)\ntl.store(y, acc.to(M))")),
    ("epilogue_fusion", kernel("p = x\nfor i in range(K):\n    p += N\ntl.store(y, tl.load(x) * 2)")),
    ("loop_unrolling", kernel("for i in tl.range(0, N, loop_unroll_factor=1):\n    pass")),
    ("software_pipelining", kernel("for i in tl.range(0, K, num_stages=1):\n    a = tl.load(x + i)")),
    ("precision_split", kernel("a = tl.load(x)\ntl.store(y, a)")),
    ("tensor_cores", "def kernel_function(a):\n    return a.dot(a)\n"),
]  # fmt: skip


@pytest.mark.parametrize(("technique", "source"), USES)
def test_a_technique_is_seen_in_the_source(technique, source):
    found = vector(source)
    assert technique in found.techniques


@pytest.mark.parametrize(("technique", "source"), AVOIDS)
def test_what_only_looks_like_it_is_not_taken_for_it(technique, source):
    assert technique not in vector(source).techniques


@pytest.mark.parametrize(
    ("name", "techniques"),
    [
        (
            "matmul_large",
            {"tensor_cores", "software_pipelining", "vectorized_load", "shared_memory_tiling", "async_copy_tma"},
        ),
        ("matvec_narrow", set()),
        ("matvec_plain", {"vectorized_load"}),
        ("matvec_pipelined", {"software_pipelining", "vectorized_load", "async_copy_tma"}),
    ],
)
def test_ptx_alone_tells_what_the_hardware_does(name, techniques):
    assert set(vector("", [(PTX / f"{name}.ptx").read_text()]).techniques) == techniques


def test_the_scratch_of_a_reduction_is_no_tiling():
    text = (PTX / "matvec_narrow.ptx").read_text()
    assert "st.shared" in text
    assert "shared_memory_tiling" not in vector("", [text]).techniques


def test_ptx_overrules_what_the_source_hopes_for():
    """tl.dot that became no matrix instruction uses no tensor core."""
    found = vector(kernel("acc = tl.dot(tl.load(x), tl.load(y))"), [(PTX / "matvec_plain.ptx").read_text()])
    assert "tensor_cores" not in found.techniques


def test_clusters_are_seen_in_the_launch():
    assert "thread_block_clusters" in vector("", launches=[launch(num_ctas=2)]).techniques
    assert "thread_block_clusters" not in vector("", launches=[launch()]).techniques


def test_a_large_grid_is_not_persistent():
    source = kernel("for t in range(tl.program_id(0), N, NUM_SMS):\n    tl.store(y + t, 1.0)")
    assert "persistent_kernel" in vector(source, launches=[launch(grid=(132, 1, 1))]).techniques
    assert "persistent_kernel" not in vector(source, launches=[launch(grid=(5000, 1, 1))]).techniques


def test_a_step_equal_to_the_grid_is_persistent_whatever_its_name():
    source = kernel(
        "for t in range(tl.program_id(0), N, WIDTH):\n    tl.store(y + t, 1.0)", "y, N, WIDTH: tl.constexpr"
    )
    same, other = (launch(grid=(132, 1, 1), constants=(("WIDTH", width),)) for width in ("132", "64"))
    assert "persistent_kernel" in vector(source, launches=[same]).techniques
    assert "persistent_kernel" not in vector(source, launches=[other]).techniques


@pytest.mark.parametrize(("rows", "set_"), [("4", True), ("64", False), ("1", False)])
def test_a_few_long_rows_in_registers_are_register_tiling(rows, set_):
    source = kernel("acc = tl.zeros((ROWS, BLOCK), dtype=tl.float32)", "x, ROWS: tl.constexpr, BLOCK: tl.constexpr")
    found = vector(source, launches=[launch(constants=(("ROWS", rows), ("BLOCK", "1024")))])
    assert ("register_tiling" in found.techniques) is set_


def test_wide_data_needs_no_precision_split():
    source = kernel("a = tl.load(x).to(tl.float32)\ntl.store(y, a.to(y.dtype.element_ty))")
    narrow, wide = (launch(signature=(("x", kind), ("y", kind))) for kind in ("*bf16", "*fp32"))
    assert "precision_split" in vector(source, launches=[narrow]).techniques
    assert "precision_split" not in vector(source, launches=[wide]).techniques


def test_every_set_bit_has_evidence():
    found = vector(SPLIT_K, [(PTX / "matmul_large.ptx").read_text()], [launch(num_ctas=2)])
    assert tuple(one.technique for one in found.evidence) == found.techniques
    assert all(one.where.startswith(("source:", "ptx", "launch")) and one.what for one in found.evidence)


def test_evidence_names_the_line():
    (one,) = vector(kernel("tl.atomic_add(y, 1.0)")).evidence
    assert (one.where, one.what) == ("source:6", "tl.atomic_add(y, 1.0)")


def test_techniques_come_in_the_order_of_the_taxonomy():
    names = [technique.name for technique in TAXONOMY]
    found = vector(SPLIT_K, [(PTX / "matmul_large.ptx").read_text()]).techniques
    assert list(found) == sorted(found, key=names.index)


def test_a_technique_that_the_classifier_does_not_know_is_not_set():
    longer = (*TAXONOMY, Technique(name="cache_hints", description="d", llm_hint="h"))
    found = classify(SPLIT_K, [], [], longer, device=H100)
    assert "cache_hints" not in found.techniques
    assert found.techniques == vector(SPLIT_K).techniques


def test_source_that_is_no_python_leaves_what_the_ptx_says():
    found = vector("def k(:\n", [(PTX / "matvec_plain.ptx").read_text()])
    assert found.techniques == ("vectorized_load",)


@given(st.text(max_size=200), st.lists(st.text(max_size=200), max_size=2))
def test_odd_input_never_raises(source, ptx):
    classify(source, ptx, [launch()], TAXONOMY, device=H100)


@given(
    st.sampled_from([source for _, source in USES]), st.integers(0, 10**6), st.text("()[]:=+.,^%/ \nxk0", max_size=4)
)
def test_damaged_kernels_never_raise(source, at, noise):
    at %= len(source)
    vector(source[:at] + noise + source[at + 3 :], launches=[launch()])


DEAD = """
import triton, triton.language as tl

@triton.jit
def old(x, y, N, BLOCK: tl.constexpr):
    tl.atomic_add(y, tl.sum(tl.load(x + tl.arange(0, BLOCK)), 0))

@triton.jit
def twice(value):
    return value + value

@triton.jit
def new(x, y, N, BLOCK: tl.constexpr):
    tl.store(y + tl.arange(0, BLOCK), twice(tl.load(x + tl.arange(0, BLOCK))))

def kernel_function(x, y):
    new[(1,)](x, y, 8, 16)
"""
CHOSEN = DEAD.replace(
    "    new[(1,)](x, y, 8, 16)", "    if x.is_cpu:\n        old[(1,)](x, y, 8, 16)\n    new[(1,)](x, y, 8, 16)"
)


@pytest.mark.parametrize(
    ("source", "launches", "set_"),
    [
        (DEAD, [], False),
        (DEAD, [launch("new")], False),
        (DEAD, [launch("unknown")], False),
        (CHOSEN, [], True),
        (CHOSEN, [launch("new")], False),
        (CHOSEN, [launch("new"), launch("old")], True),
        (DEAD.partition("def kernel_function")[0], [], True),
    ],
)
def test_a_kernel_that_is_never_launched_has_no_techniques(source, launches, set_):
    assert ("atomic_reduction" in vector(source, launches=launches).techniques) is set_


def test_what_living_kernels_call_lives():
    assert dead_kernels(ast.parse(DEAD), {"new"}) == {"old"}
