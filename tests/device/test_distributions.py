from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from kopt.device.draws import kinds, structure
from kopt.device.draws.distributions import DISTRIBUTIONS, FULL_SIZE, Draw, make_case, plan
from kopt.device.draws.forms import forms_of
from kopt.device.draws.kinds import GIVEN
from kopt.device.draws.seeds import derive_seed
from kopt.device.reference.setup import load_reference, make_inputs
from kopt.model.problem import Dtype, Problem, Workload
from kopt.problem.folder import load

torch.set_num_threads(1)  # other tests fork this process

PROBLEMS = Path(__file__).parents[2] / "config" / "problems"
LAYERNORM = load(PROBLEMS / "layernorm")
TINY = Workload(name="tiny", constants={"batch_size": 3, "dim": 200})
DRAWN = [name for name in DISTRIBUTIONS if name != GIVEN]

REFERENCE = """
import torch
from torch import nn

N = 50

class Model(nn.Module):
    def forward(self, {names}):
        return {value}

def get_inputs():
    return [{inputs}]

def get_init_inputs():
    return []
"""

N = 50
WHOLE = Workload(name="whole")
OTHER = Workload(name="other", constants={"N": 40})


def problem(names: str, value: str, made: str, **changes: object) -> Problem:
    source = REFERENCE.format(names=names, value=value, inputs=made)
    parts = {"name": "made", "reference": source, "small": [WHOLE, OTHER], "main": [WHOLE], "hidden": []}
    return Problem.model_validate(LAYERNORM.model_dump() | parts | changes)


def drawn(made: Problem, kind: str, seed: int = 3) -> tuple[torch.Tensor, ...]:
    return make_case(made, Draw(WHOLE, kind, seed)).inputs


EMBEDDING = problem("table, index, scale", "table[index] * scale", "torch.rand(N, 8), torch.randint(0, N, (20,)), 3")


@given(count=st.integers(1, 4), full=st.integers(0, 3), seed=st.integers())
def test_every_kind_is_in_every_plan_whatever_the_seed(count: int, full: int, seed: int) -> None:
    workloads = tuple(Workload(name=str(at)) for at in range(count))
    large = tuple(Workload(name=f"large{at}") for at in range(full))
    draws = plan(workloads, seed, timed=large[:1], hidden=large[1:])
    assert {draw.distribution for draw in draws if draw.workload in workloads} == set(DISTRIBUTIONS)
    for kind in (GIVEN, "normal"):
        assert {d.workload.name for d in draws if d.distribution == kind} >= {w.name for w in workloads}
    assert {d.workload.name for d in draws if d.distribution == GIVEN} >= {w.name for w in large}
    assert {d.distribution for d in draws if d.workload in large} <= set(FULL_SIZE)
    kinds = {workload.name: "small" for workload in workloads}
    kinds |= {workload.name: "hidden" if at else "timed" for at, workload in enumerate(large)}
    assert {d.workload.name: d.kind for d in draws} == kinds
    assert len({draw.seed for draw in draws}) == len(draws)
    assert [(d.workload, d.distribution) for d in draws] == [
        (d.workload, d.distribution) for d in plan(workloads, seed + 1, timed=large)
    ]


@given(a=st.text(), b=st.text())
def test_seeds_of_different_parts_differ(a: str, b: str) -> None:
    assert 0 <= derive_seed(a, b) < 2**63
    if a != b and "\x00" not in a + b:
        assert derive_seed(a, b) != derive_seed(b, a)


@pytest.mark.parametrize("distribution", DISTRIBUTIONS)
def test_same_draw_gives_the_same_inputs_and_another_seed_others(distribution: str) -> None:
    first, again, other = (make_case(LAYERNORM, Draw(TINY, distribution, seed)) for seed in (1, 1, 2))
    assert torch.equal(first.inputs[0], again.inputs[0])
    assert not torch.equal(first.inputs[0], other.inputs[0])


@pytest.mark.parametrize("distribution", DISTRIBUTIONS)
def test_shape_dtype_and_finiteness_are_the_problems(distribution: str) -> None:
    (x,) = make_case(LAYERNORM, Draw(TINY, distribution, 1)).inputs
    assert x.shape == (3, 200)
    assert x.dtype == torch.bfloat16
    assert x.isfinite().all()


@pytest.mark.parametrize("distribution", DISTRIBUTIONS)
def test_indexes_stay_in_range_and_plain_values_as_they_are(distribution: str) -> None:
    table, index, scale = drawn(EMBEDDING, distribution)
    assert table.dtype == torch.bfloat16
    assert index.dtype == torch.int64
    assert 0 <= int(index.min()) <= int(index.max()) < 50
    assert scale == 3


TABLE = "torch.rand(N, 8), torch.randint(0, N - 9, (20,))"
INDEXES = {
    "a table": ("table, index", "table[index]", TABLE, N - 1),
    "labels": (
        "x, y", "nn.functional.cross_entropy(x, y, reduction='none')", "torch.randn(20, N), torch.randint(0, 9, (20,))",
        N - 1,
    ),
    "numbers": ("x, y", "x * y[:, None]", "torch.rand(20, N), torch.randint(0, 9, (20,))", None),
}  # fmt: skip


@pytest.mark.parametrize("name", INDEXES)
def test_integers_are_drawn_with_both_ends_of_their_range_and_all_equal(name: str) -> None:
    names, value, made, last = INDEXES[name]
    indexed = problem(names, value, made, dtype="float32")
    _, given = make_inputs(load_reference(indexed, WHOLE), indexed, seed=derive_seed(3, "inputs"))
    _, both = drawn(indexed, "integer")
    assert (int(both.min()), int(both.max())) == (int(given.min()), last or int(given.max()))
    assert not torch.equal(both, given)
    assert drawn(indexed, "equal")[1].unique().numel() == 1


@pytest.mark.parametrize("dtype", ["uint8", "int32", "int64"])
def test_integers_are_drawn_in_a_declared_range(dtype: str) -> None:
    made = problem(
        "x, y", "x * y", f"torch.randn(20), torch.arange(20, dtype=torch.{dtype})", inputs={"y": {"range": [1.5, 99]}}
    )
    _, both = drawn(made, "integer")
    assert both.dtype == getattr(torch, dtype)
    assert (int(both.min()), int(both.max())) == (2, 99)
    assert drawn(made, "equal")[1].tolist() == [99] * 20
    assert drawn(made, "normal")[1].tolist() == list(range(20))


def test_one_negative_label_stays_where_it_is() -> None:
    made = "torch.randn(20, N), torch.randint(0, 9, (20,)).masked_fill(torch.arange(20) % 4 == 1, -100)"
    labels = problem("x, y", "nn.functional.cross_entropy(x, y, reduction='none')", made, dtype="float32")
    for kind in DRAWN:
        _, y = drawn(labels, kind)
        assert y[1::4].unique().tolist() == [-100]
        assert int(y[torch.arange(20) % 4 != 1].min()) >= 0


def test_masked_scores_are_larger_than_what_stands_for_minus_infinity() -> None:
    value = "(x @ w).masked_fill(torch.ones(20, 20).triu(1) > 0, -1e9).softmax(-1)"
    masked = problem("x, w", value, "torch.randn(20, N), torch.randn(N, 20)")
    x, _ = drawn(masked, "extreme")
    assert 100 < float(x.abs().max()) <= 1000


def test_given_inputs_are_those_of_get_inputs_and_parameters_the_models_own() -> None:
    case = make_case(LAYERNORM, Draw(TINY, GIVEN, 4))
    expected = make_inputs(load_reference(LAYERNORM, TINY), LAYERNORM, seed=derive_seed(4, "inputs"))
    assert torch.equal(case.inputs[0], expected[0])
    assert all(parameter.unique().numel() == 1 for parameter in case.model.parameters())


def test_constant_parameters_are_drawn() -> None:
    model = make_case(LAYERNORM, Draw(TINY, "normal", 1)).model
    for parameter in model.parameters():
        assert parameter.unique().numel() > 10


def test_onehot_has_one_element_a_row_and_the_last_in_the_first_row() -> None:
    (x,) = make_case(LAYERNORM, Draw(TINY, "onehot", 5)).inputs
    assert (x != 0).sum(dim=1).tolist() == [1, 1, 1]
    assert x[0, -1] > 0


def test_integers_are_few_and_exact() -> None:
    (x,) = make_case(LAYERNORM, Draw(TINY, "integer", 5)).inputs
    assert x.unique().numel() == 5


def test_range_spans_many_powers_of_two() -> None:
    (x,) = make_case(LAYERNORM, Draw(TINY, "range", 5)).inputs
    assert float(x.abs().max() / x.abs().min()) > 2**8
    assert (x > 0).any()
    assert (x < 0).any()


@given(rows=st.integers(1, 6), seed=st.integers(0, 1000))
@settings(max_examples=20, deadline=None)
def test_edges_are_drawn_whatever_the_number_of_rows(rows: int, seed: int) -> None:
    made = problem("x", "torch.softmax(x, -1) + 1e-5", f"torch.randn({rows}, N)")
    large, tiny, negative, equal, zeros, extreme = (
        drawn(made, kind, seed)[0] for kind in ("large", "tiny", "negative", "equal", "zeros", "extreme")
    )
    assert large.float().exp().isinf().any(-1)[0]
    assert float(tiny[0].abs().max()) < 0.05
    assert bool((negative[0] < 0).all())
    assert equal[0].unique().numel() == 1
    assert not bool(zeros[0].any())
    assert torch.finfo(torch.bfloat16).max ** 0.5 < float(extreme.max()) <= torch.finfo(torch.bfloat16).max / (4 * 50)
    groups = extreme.float().reshape(rows, -1, 2)  # kernels shift a group by its first element
    assert float(groups[..., 0].abs().max()) < 100


@pytest.mark.parametrize(
    ("value", "along"),
    [("x.softmax(0)", (0,)), ("x / x.square().mean(1, True)", (1,)),
     ("F.batch_norm(x, None, None, training=True)", (0, 2)),
     ("x.amax(2)", (2,)), ("x.sum((1, 2))", (1, 2))],
)  # fmt: skip
def test_rows_lie_along_the_dimensions_that_the_reference_brings_together(value: str, along: tuple[int, ...]) -> None:
    made = problem("x", value.replace("F.", "nn.functional."), "torch.randn(6, 5, 7)", dtype="float32")
    (equal,) = drawn(made, "equal")
    assert torch.equal(equal.amax(along), equal.amin(along))
    assert equal.unique().numel() > 1
    (negative,) = drawn(made, "negative")
    assert bool(((negative < 0).all(along) | (negative > 0).all(along)).all())
    assert float(negative.amin()) < -50


def test_rows_lie_along_the_last_dimension_where_the_reference_brings_all_elements_together_or_none() -> None:
    for value in ("x.sum()", "x * 2"):
        (equal,) = drawn(problem("x", value, "torch.randn(6, 5, 7)"), "equal")
        assert torch.equal(equal.amax(2), equal.amin(2))
        assert equal.unique().numel() > 1


STRUCTURES = {
    "mask of 0 and 1": ("(torch.rand(N, N) < 0.5).float()", lambda x: x.unique().tolist() == [0.0, 1.0]),
    "mask of 0 and -inf": (
        "torch.zeros(N, N).masked_fill(torch.rand(N, N) < 0.5, float('-inf'))",
        lambda x: x.unique().tolist() == [float("-inf"), 0.0],
    ),
    "causal mask": ("torch.ones(N, N).tril()", lambda x: torch.equal(x, torch.ones_like(x).tril())),
    "signs": ("torch.randint(0, 2, (N, N)).float() * 2 - 1", lambda x: set(x.unique().tolist()) <= {-1.0, 1.0}),
    "probabilities": (
        "torch.rand(N, N).softmax(-1)",
        lambda x: bool((x >= 0).all()) and bool(((x.float().sum(-1) - 1).abs() < 0.02).all()),
    ),
    "positive": ("torch.rand(N, N) + 0.1", lambda x: bool((x > 0).all())),
    "not negative": ("torch.randn(N, N).abs()", lambda x: bool((x >= 0).all())),
    "negative": ("-torch.rand(N, N) - 1", lambda x: bool((x < 0).all())),
    "triangular": ("torch.randn(N, N).tril()", lambda x: not bool(x.triu(1).any())),
    "symmetric": ("(lambda a: a + a.T)(torch.randn(N, N))", lambda x: torch.equal(x, x.T)),
    "one-hot": (
        "torch.nn.functional.one_hot(torch.randint(0, 8, (N,)), 8).float()",
        lambda x: bool((x.sum(-1) == 1).all()) and bool(((x == 0) | (x == 1)).all()),
    ),
    "constant": ("torch.full((N,), 0.25)", lambda x: x.unique().numel() == 1 and bool((x > 0).all())),
    "sorted": ("torch.randn(N, N).sort(-1).values", lambda x: bool((x.float().diff(dim=-1) >= 0).all())),
    "table": ("torch.linspace(0, 1, N)", lambda x: torch.equal(x, torch.linspace(0, 1, 50).bfloat16())),
    "sorted indexes": ("torch.randint(0, 99, (N,)).sort().values", lambda x: bool((x.diff() >= 0).all())),
    "permutation": ("torch.randperm(N)", lambda x: x.unique().numel() == 50),
    "booleans": ("torch.rand(N, N) < 0.5", lambda x: x.dtype == torch.bool),
    "int8": ("torch.randint(-128, 128, (N, N), dtype=torch.int8)", lambda x: x.dtype == torch.int8),
    "labels of two classes": ("torch.randint(0, 2, (N,))", lambda x: set(x.tolist()) <= {0, 1}),
}


@pytest.mark.parametrize("name", STRUCTURES)
def test_structure_that_is_seen_is_kept_by_every_kind(name: str) -> None:
    values, holds = STRUCTURES[name]
    made = problem("x", "x * 1", values)
    for kind in DISTRIBUTIONS:
        assert holds(drawn(made, kind)[0]), kind


@pytest.mark.parametrize("kind", DISTRIBUTIONS)
def test_declared_values_are_kept(kind: str) -> None:
    rules = {"a": {"keep": "as_given"}, "p": {"range": (0, 1)}}
    made = problem("a, p", "a * p", "torch.randn(N, N), torch.rand(N)", inputs=rules)
    a, p = drawn(made, kind)
    given_a = make_inputs(load_reference(made, WHOLE), made, seed=derive_seed(3, "inputs"))[0]
    assert torch.equal(a, given_a)
    assert bool(((p >= 0) & (p <= 1)).all())


@pytest.mark.parametrize("value", ["torch.log(x)", "torch.sqrt(x)", "x * torch.log(x)", "1 / x.sqrt()"])
def test_uniform_inputs_stay_in_the_references_domain(value: str) -> None:
    made = problem("x", value, "torch.rand(N, N)")
    for kind in DISTRIBUTIONS:
        case = make_case(made, Draw(WHOLE, kind, 1))
        assert not bool(case.model(*case.inputs).isnan().any()), kind


def test_uniform_inputs_are_drawn_signed_where_the_reference_takes_it() -> None:
    made = problem("x", "torch.relu(x)", "torch.rand(N, N)")
    assert bool((drawn(made, "normal")[0] < 0).any())


def test_a_row_is_masked_altogether_only_where_the_reference_gives_numbers_for_it() -> None:
    mask = "torch.randn(N, N), torch.rand(N, N) < 0.5"
    soft = problem("x, keep", "torch.softmax(x.masked_fill(~keep, float('-inf')), -1)", mask)
    finite = problem("x, keep", "x * keep", mask)
    assert bool(drawn(soft, "zeros")[1].any(-1).all())
    assert not bool(drawn(finite, "zeros")[1].any(-1).all())


LAYOUTS = {
    "transposed": "torch.randn(8, N).T",
    "expanded": "torch.randn(N, 1).expand(N, 8)",
    "sliced": "torch.randn(N, 16)[:, 4:12]",
    "first rows": "torch.randn(2 * N, 8)[:N]",
    "channels last": "torch.randn(2, 3, 5, N).to(memory_format=torch.channels_last)",
    "window": "torch.randn(2 * N).unfold(0, 8, 2)",
    "scalar": "torch.randn(())",
    "empty": "torch.randn(0, 4)",
    "indexes": "torch.randint(0, 50, (8, 2 * N))[:, ::2]",
}


@pytest.mark.parametrize("name", LAYOUTS)
@pytest.mark.parametrize("kind", DRAWN)
def test_strides_offsets_and_storage_are_kept(name: str, kind: str) -> None:
    made = problem("x", "x * 1", LAYOUTS[name], dtype="float32")
    original = drawn(made, GIVEN)[0]
    x = drawn(made, kind)[0]
    assert (x.shape, x.stride(), x.storage_offset()) == (original.shape, original.stride(), original.storage_offset())
    assert x.untyped_storage().nbytes() == original.untyped_storage().nbytes()
    assert x.dtype == original.dtype


@pytest.mark.parametrize("dtype", [Dtype.FLOAT64, Dtype.FLOAT16])
def test_other_types_are_drawn(dtype: Dtype) -> None:
    for kind in DISTRIBUTIONS:
        (x,) = make_case(LAYERNORM.model_copy(update={"dtype": dtype}), Draw(TINY, kind, 1)).inputs
        assert x.dtype == getattr(torch, dtype.value)
        assert x.isfinite().all()


@pytest.mark.parametrize(("name", "level"), [("maxpool3d", 0), ("matvec", 1), ("gemma3_swiglu", 2)])
def test_the_largest_numbers_are_drawn_where_the_reference_does_not_make_them_larger(name, level):
    assert forms_of(load(PROBLEMS / name)).usual("extreme").level == level


@pytest.mark.parametrize(
    "result", ["A.std(1)", "A.float().var(1, unbiased=False)", "torch.linalg.vector_norm(A, dim=1)",
               "torch.nn.functional.layer_norm(A, A.shape[1:])"],
)  # fmt: skip
def test_operands_of_variances_and_norms_can_be_squared(result):
    reference = (PROBLEMS / "matvec" / "problem.py").read_text()
    squared = reference.replace("return torch.matmul(A, B)", f"return {result} + B.sum() * 0")
    assert squared != reference
    problem = load(PROBLEMS / "matvec").model_copy(update={"reference": squared})
    assert forms_of(problem).usual("extreme").level > 0


def test_scores_of_attention_stay_below_the_numbers_that_mask_them():
    reference = (PROBLEMS / "matvec" / "problem.py").read_text()
    forward = "return torch.matmul(A, B)"
    assert forward in reference
    attention = reference.replace(forward, "return torch.softmax(A @ B @ B.T, -1) @ B")
    problem = load(PROBLEMS / "matvec").model_copy(update={"reference": attention})
    assert forms_of(problem).usual("extreme").level == 2


def test_labels_that_are_left_out_stay_marks_and_no_range_begins_there():
    given = torch.tensor([3, -100, 7, 7, 0, 1, 1, -100])
    wanted = kinds.Wanted(structure.structure_seen([[given, given.flip(0)]]), first=True, below=9)
    values = kinds.drawn(given, "integer", wanted)
    assert set(values.tolist()) <= {-100, *range(9)}
    assert {8, -100} <= set(values.tolist())
