from functools import cache
from pathlib import Path

import pytest

from kopt.device.facts.facts import problem_facts
from kopt.errors import ProblemError
from kopt.model.kernel import Kernel
from kopt.model.problem import Dtype, Floor, Problem, Workload, WorkloadFacts
from kopt.problem.folder import load

PROBLEMS = Path(__file__).parents[2] / "config" / "problems"


@cache
def facts(name: str) -> tuple[WorkloadFacts, ...]:
    return problem_facts(load(PROBLEMS / name)).workloads


def test_matvec_at_full_size_reads_the_matrix_once() -> None:
    (main,) = facts("matvec")
    assert [(t.name, t.shape, t.dtype) for t in main.inputs] == [
        ("A", (2048, 1048576), "bfloat16"),
        ("B", (1048576, 1), "bfloat16"),
    ]
    assert main.outputs[0].shape == (2048, 1)
    assert main.bytes == 2 * (2048 * 1048576 + 1048576 + 2048)
    assert main.matmul_flops == 2 * 2048 * 1048576


def test_swiglu_counts_both_products_of_every_workload() -> None:
    large, small = facts("gemma3_swiglu")
    assert large.matmul_flops == 2 * 2 * 512 * 3072 * 24576
    assert small.matmul_flops * 4 == large.matmul_flops
    assert large.vector_flops >= 8 * 512 * 24576


def test_parameters_count_as_traffic() -> None:
    (main,) = facts("layernorm")
    assert [(t.name, t.shape) for t in main.parameters] == [("weight", (8192,)), ("bias", (8192,))]
    assert main.bytes == 2 * (2 * 4096 * 8192 + 2 * 8192)


def test_views_and_allocations_are_no_operations() -> None:
    names = [op.name for op in facts("gemma3_swiglu")[0].eager_ops]
    assert names.count("aten.mm.default") == 2
    assert not [name for name in names if "view" in name or "aten.t." in name or "empty" in name]


def test_reduction_counts_its_input() -> None:
    (main,) = facts("rmsnorm")
    (mean,) = [op for op in main.eager_ops if op.name.startswith("aten.mean")]
    assert mean.vector_flops == 112 * 64 * 512 * 512


def test_pooling_counts_its_window() -> None:
    (main,) = facts("maxpool3d")
    assert main.outputs[0].shape == (16, 32, 62, 62, 62)
    assert main.vector_flops == 27 * 16 * 32 * 62**3


def test_reference_that_raises_is_a_problem_error() -> None:
    problem = load(PROBLEMS / "matvec")
    broken = problem.reference.replace("torch.matmul(A, B)", "torch.matmul(B, A, B)")
    with pytest.raises(ProblemError, match=r"matvec, timed workload .*: the reference cannot be traced"):
        problem_facts(Problem.model_validate(problem.model_dump() | {"reference": broken}))


def test_reference_that_returns_no_tensor_is_refused() -> None:
    problem = load(PROBLEMS / "matvec")
    broken = problem.reference.replace("return torch.matmul(A, B)", "return str(torch.matmul(A, B).shape)")
    with pytest.raises(ProblemError, match="returns str, not a tensor"):
        problem_facts(Problem.model_validate(problem.model_dump() | {"reference": broken}))


def of(forward: str, inputs: str, main: int = 512, init: str = "pass", dtype: str = "float32") -> WorkloadFacts:
    """Facts of a small problem of one constant, N."""
    reference = f"""
import torch
from torch import nn
import torch.nn.functional as F

N = {main}


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        {init}

    def forward(self, {", ".join(f"x{at}" for at in range(inputs.count(";") + 1))}):
        {forward}


def get_inputs():
    return [{inputs.replace(";", ",")}]


def get_init_inputs():
    return []
"""
    problem = Problem(
        name="p", reference=reference, seed=Kernel(source=""), dtype=Dtype(dtype), main=(Workload(name="m"),),
        small=(Workload(name="s", constants={"N": 16}),),
    )  # fmt: skip
    return problem_facts(problem).workloads[0]


@pytest.mark.parametrize(
    ("forward", "inputs", "shares"),
    [
        ("return torch.softmax(x0, 1)", "torch.randn(N, N)", [1.0]),
        ("return F.layer_norm(x0, (N,)).sum(1)", "torch.randn(N, N)", [0.0]),
        ("return x0[:, :16] * 2", "torch.randn(N, N)", [16 / 512]),
        ("return x0[x1]", "torch.randn(4 * N, N); torch.randint(0, 4 * N, (N,))", [0.0, 1.0]),
        ("a, b = x0.chunk(2, 1); return a * b", "torch.randn(N, N)", [1.0]),
        ("return torch.tril(x0) + 1", "torch.randn(N, N)", [0.5]),
        ("return torch.diag(x0) @ x1", "torch.randn(N); torch.randn(N, N)", [1.0, 1.0]),
        ("return torch.triu(x0 @ x1)", "torch.randn(N, N).triu(); torch.randn(N, N).triu()", [0.53, 0.53]),
        ("return F.max_pool1d(x0, 2, 4)", "torch.randn(N, 1, N)", [0.5]),
        ("return F.cross_entropy(x0, x1)", "torch.randn(N, N); torch.randint(0, N, (N,))", [1.0, 1.0]),
        ("return x0 + 0 * x1", "torch.randn(N, N); torch.randn(N, N)", [1.0, 0.0]),
        ("x0[1:9].copy_(x1)", "torch.randn(N, N); torch.randn(8, N)", [0.0, 1.0]),
        ("return x0 + 1", "(lambda a: torch.cat((a, a), 1))(torch.randn(N, N // 2))", [0.5]),
        ("return x0 + 1", "torch.randn(N, N).round()", [1.0]),
        ("x0.mul_(x1)", "torch.randn(N, N); torch.randn(N, N)", [1.0, 1.0]),
        ("x0[8:16].copy_(x1); return x0 * 2", "torch.randn(16, N); torch.randn(8, N)", [0.5, 1.0]),
        ("x0.index_add_(0, x1, x2)", "torch.randn(N, N); torch.randperm(N)[:8]; torch.randn(8, N)", [0.0, 1.0, 1.0]),
        ("return x0 + x1", "torch.randn(N, N)[:, ::2]; torch.randn(1, N // 2).expand(N, -1)", [1.0, 1 / 512]),
        ("return x0 + 1", "torch.randn(N + 15).unfold(0, 16, 1)", [1 / 16]),
        ("return x0['a'] + x0['b'][0]", "{'a': torch.randn(N, N), 'b': [torch.randn(N, N)]}", [1.0, 1.0]),
        ("return x0['a'][:, :16] + 0 * x0['b']", "{'a': torch.randn(N, N), 'b': torch.randn(N, 16)}", [16 / 512, 0]),
    ],
)
def test_only_what_every_right_kernel_reads_is_asked_for(forward: str, inputs: str, shares: list[float]) -> None:
    assert [spec.needed for spec in of(forward, inputs).inputs] == pytest.approx(shares, abs=0.1)


@pytest.mark.parametrize(
    ("forward", "necessary"),
    [
        ("return x0 @ x1", True),
        ("return torch.relu(x0 @ x1.t()) + 1", True),
        ("return (x0 @ x1).sum(1)", False),
        ("return x0 @ x1 @ x1", False),
        ("return torch.relu(x0 @ x1) @ x1", True),
        ("return torch.tril(x0 @ x1)", False),
        ("return torch.tril(x0) @ x1", False),
        ("return x0[0].expand(N, N) @ x1", False),
    ],
)
def test_products_are_necessary_where_no_algebra_saves_them(forward: str, necessary: bool) -> None:
    facts = of(forward, "torch.randn(N, N); torch.randn(N, N)")
    assert facts.necessary_flops == (facts.matmul_flops if necessary else 0)


TWO = "torch.randn(N, N); torch.randn(N, N)"
TWO_INT8 = "torch.ones(N, N).to(torch.int8); torch.ones(N, N).to(torch.int8)"


@pytest.mark.parametrize(
    ("forward", "inputs", "narrowest"),
    [
        ("return x0 @ x1", TWO, "float32"),
        ("return x0 + x1", TWO, ""),
        ("return x0.half() @ x1.half()", TWO, "float16"),
        ("return (x0.half().t() @ x1.half()).float()", TWO, "float16"),
        ("with torch.autocast('cuda', torch.bfloat16): return x0 @ x1", TWO, "bfloat16"),
        ("with torch.autocast(x0.device.type): return F.linear(x0, x1)", TWO, "float16"),
        (
            "with torch.autocast('cuda', torch.bfloat16), torch.autocast('cuda', enabled=False): return x0 @ x1",
            TWO,
            "float32",
        ),
        ("return x0.float() @ x1.float()", TWO_INT8, "int8"),
        ("return torch.relu(x0.float()) @ (x1.float() * 0.5)", TWO_INT8, "int8"),
        (
            "return x0.float() @ (x1.float() - x1.float().mean(0)).t()",
            "torch.ones(N, N).to(torch.float8_e4m3fn); torch.ones(N, N).to(torch.float8_e5m2)",
            "float8_e4m3fn",
        ),
        (
            "return x0.bfloat16() @ x1.to(torch.bfloat16)",
            "torch.ones(N, N); torch.ones(N, N).to(torch.int8)",
            "bfloat16",
        ),
        ("return F.conv2d(x0[None, None].half(), x1[None, None, :3, :3].half())", TWO, "float16"),
        ("return F.scaled_dot_product_attention(x0[None].half(), x1[None].half(), x1[None].half())", TWO, "float16"),
    ],
)
def test_products_may_be_as_fast_as_their_narrowest_operands_allow(forward: str, inputs: str, narrowest: str) -> None:
    assert of(forward, inputs).product_type == narrowest


def test_autocast_leaves_what_must_be_read_and_computed() -> None:
    region = "with torch.autocast('cuda', torch.bfloat16): return x0 @ x1"
    plain, automatic = (of(forward, TWO) for forward in ("return x0 @ x1", region))
    assert automatic.necessary_flops == plain.necessary_flops == plain.matmul_flops > 0
    assert [one.needed for one in automatic.inputs] == [1.0, 1.0]
    assert automatic.bytes == plain.bytes - plain.output_bytes // 2, "the output has 16 bits"
    assert plain.exact_flops > 0 == automatic.exact_flops
    assert [one.operands for one in automatic.eager_ops if one.matmul_flops] == ["bfloat16"]


@pytest.mark.parametrize(
    "layer", ["LSTM(N, N)", "GRU(N, N)", "RNN(N, N)", "MultiheadAttention(N, 2)", "TransformerEncoderLayer(N, 2, N)"]
)
def test_layers_that_torch_computes_as_a_whole_have_facts_under_autocast(layer: str) -> None:
    given = "x0, x0, x0" if "Attention" in layer else "x0"
    region = f"with torch.autocast('cuda', torch.bfloat16): return self.layer({given})"
    facts = of(region, "torch.randn(N, N)", 64, f"self.layer = nn.{layer}")
    assert facts.eager_ops
    assert all(one.needed for one in facts.inputs)


BFLOAT16 = "with torch.autocast('cuda', torch.bfloat16): "
AUTOMATIC = {
    "product": (
        BFLOAT16 + "y = F.gelu(x0 @ x1) @ x2\n        return y",
        "b = torch.bfloat16; return F.gelu(x0.to(b) @ x1.to(b)) @ x2.to(b)",
    ),
    "float": (
        BFLOAT16 + "y = x0 @ x1\n        return y.float()",
        "b = torch.bfloat16; return (x0.to(b) @ x1.to(b)).float()",
    ),
    "softmax": (
        BFLOAT16 + "return torch.softmax(x0 @ x1, -1)",
        "b = torch.bfloat16; return torch.softmax((x0.to(b) @ x1.to(b)).float(), -1)",
    ),
    "norm": (
        BFLOAT16 + "return F.layer_norm(F.linear(x0, x1), (N,))",
        "b = torch.bfloat16; return F.layer_norm(F.linear(x0.to(b), x1.to(b)).float(), (N,))",
    ),
    "sum": (
        BFLOAT16 + "return (x0 @ x1).sum(-1)",
        "b = torch.bfloat16; return (x0.to(b) @ x1.to(b)).sum(-1, dtype=torch.float32)",
    ),
    "attention": (
        BFLOAT16 + "return F.scaled_dot_product_attention(x0[None, None], x1[None, None], x2[None, None])",
        "q, k, v = (x[None, None].to(torch.bfloat16) for x in (x0, x1, x2))\n"
        "        return F.scaled_dot_product_attention(q, k, v)",
    ),
    "a part": (
        BFLOAT16 + "y = x0 @ x1\n        return y.float() @ x2",
        "b = torch.bfloat16; return (x0.to(b) @ x1.to(b)).float() @ x2",
    ),
    "nothing": (BFLOAT16 + "return F.gelu(x0) + x1", "return F.gelu(x0) + x1"),
}


@pytest.mark.parametrize("name", AUTOMATIC)
def test_a_floor_under_autocast_is_that_of_conversions_by_hand(name: str) -> None:
    automatic, hand = (of(forward, TWO + "; torch.randn(N, N)") for forward in AUTOMATIC[name])
    assert automatic == hand
    assert {one.dtype for one in automatic.inputs} == {"float32"}


@pytest.mark.parametrize(
    ("forward", "narrowest"),
    [
        ("return x0 @ x1 + (x2[:16, :16].float() @ x2[:16, :16].float()).sum()", "float32"),
        ("a = x0.half().float(); b = x1.half().float(); a.copy_(x1); return a @ b", "float32"),
        ("a = x0.half().float(); b = x1.half().float(); a += x0; return a @ b", "float32"),
        ("return F.relu6(x2.float()) @ x2.float()", "int8"),
    ],
)
def test_other_products_and_changed_numbers_make_no_product_faster(forward: str, narrowest: str) -> None:
    inputs = "torch.randn(N, N); torch.randn(N, N); torch.ones(N, N).to(torch.int8)"
    assert of(forward, inputs).product_type == narrowest


def test_several_outputs_have_names_and_a_changed_input_is_one_of_them() -> None:
    facts = of("x0.add_(1); return {'a': x0 * 2, 'b': (x0.sum(), None)}", "torch.randn(N, N)")
    assert [(o.name, o.shape) for o in facts.outputs] == [
        ("output['a']", (512, 512)), ("output['b'][0]", ()), ("x0 afterwards", (512, 512)),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("forward", "inputs", "written"),
    [
        ("x0[1:9].copy_(x1)", "torch.zeros(N, N); torch.randn(8, N)", [8 / 512]),
        ("return x0.index_copy_(0, x1, x2)", "torch.zeros(N, N); torch.arange(8); torch.randn(8, N)", [0, 8 / 512]),
        ("x0[x1] = x2", "torch.zeros(N, N); torch.arange(8); torch.randn(8, N)", [8 / 512]),
        ("x0.index_add_(0, x1, x2)", "torch.zeros(N, N); torch.arange(8); torch.randn(8, N)", [0]),
        ("return x0.add_(x1)", "torch.randn(N, N); torch.randn(N, N)", [0, 1]),
        ("return torch.add(x1, 1, out=x0)", "torch.randn(N, N); torch.randn(N, N)", [0, 1]),
        ("return x0[:, :8]", "torch.randn(N, N)", [0]),
        ("y = x0 + 1; return y, y.t()", "torch.randn(N, N)", [1, 0]),
        ("x0[:, :8].copy_(x0[:, 8:16]); x0[:, 32:40] = 0", "torch.randn(N, N)", [16 / 512]),
    ],
)
def test_only_what_every_right_kernel_writes_is_asked_for(forward: str, inputs: str, written: list[float]) -> None:
    assert [spec.needed for spec in of(forward, inputs).outputs] == pytest.approx(written)


def test_inputs_that_share_memory_have_one_place_and_what_they_share_counts_once() -> None:
    whole = "(lambda t: [t, t[:8], t.t()])(torch.randn(N, N))"
    halves = "(lambda t: [t[:, : N // 2], t[:, N // 2 :]])(torch.randn(N, N))"
    for forward, inputs, needed in (
        ("return x0[0].sum() + x0[1].sum() + x0[2].sum()", whole, [1, 0, 0]),
        ("return x0[0] + x0[1]", halves, [1, 1]),
    ):
        facts = of(forward, inputs)
        assert [spec.needed for spec in facts.inputs] == needed
        assert {spec.place for spec in facts.inputs} == {"input 0[0]"}


def test_a_view_says_where_its_memory_ends() -> None:
    (first, second) = of("return x0 + x1", "torch.randn(4, 9)[:, 1::2]; torch.randn(1, 4).expand(4, 4)").inputs
    assert (first.end, second.end) == (4 * 35, 4 * 4)


def test_fused_attention_is_one_operation_of_half_the_products_when_causal() -> None:
    facts = of("return F.scaled_dot_product_attention(x0, x0, x0, is_causal=True)", "torch.randn(2, 4, N, 64)",
               dtype="bfloat16")  # fmt: skip
    (op,) = facts.eager_ops
    assert op.matmul_flops == 2 * 2 * 4 * 512 * 512 * 64
    assert op.known
    assert op.bytes == 4 * 2 * 4 * 512 * 64 * 2


@pytest.mark.parametrize(
    ("forward", "dtype", "exact"),
    [
        ("return x0 @ x0", "float32", True),
        ("return x0 @ x0", "bfloat16", False),
        ("return F.conv1d(x0[None], x0[:, :, None])", "float32", False),
        ("return x0 + x0", "float32", False),
    ],
)
def test_eager_multiplies_float32_exactly_and_convolves_it_in_tf32(forward: str, dtype: str, exact: bool) -> None:
    assert [op.exact for op in of(forward, "torch.randn(N, N)", dtype=dtype).eager_ops] == [exact]


def test_operations_of_unknown_cost_are_marked() -> None:
    assert not all(op.known for op in of("return torch.linalg.inv(x0)", "torch.randn(N, N)").eager_ops)


def test_of_a_reference_that_depends_on_values_nothing_is_asked() -> None:
    facts = of("return x0[: int(x0.abs().sum() > 0) * 4]", "torch.randn(N, N)")
    assert facts.unknown
    assert facts.bytes == 0


def test_a_declared_floor_replaces_the_derived_one() -> None:
    facts = of("return x0 * 2", "torch.randn(N, N)").model_copy(update={"floor": Floor(bytes=100, flops=7)})
    assert (facts.bytes, facts.floor_flops) == (100, 7)
