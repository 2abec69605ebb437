from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from kopt.device.reference.distributions import DISTRIBUTIONS, Draw, derive_seed, make_case, plan
from kopt.model.problem import Problem, Workload
from kopt.problem.folder import load

torch.set_num_threads(1)  # other tests fork this process

PROBLEMS = Path(__file__).parents[2] / "config" / "problems"
LAYERNORM = load(PROBLEMS / "layernorm")
TINY = Workload(name="tiny", constants={"batch_size": 3, "dim": 200})

EMBEDDING = """
import torch
from torch import nn

N = 50

class Model(nn.Module):
    def forward(self, table, index, scale):
        return table[index] * scale

def get_inputs():
    return [torch.rand(N, 8), torch.randint(0, N, (20,)), 3]

def get_init_inputs():
    return []
"""


def embedding() -> Problem:
    return Problem.model_validate(LAYERNORM.model_dump() | {"name": "embedding", "reference": EMBEDDING})


@given(count=st.integers(1, 4), seed=st.integers())
def test_a_plan_has_five_draws_three_distributions_and_different_seeds(count: int, seed: int) -> None:
    workloads = tuple(Workload(name=str(at)) for at in range(count))
    draws = plan(workloads, seed)
    assert len(draws) >= 5
    assert len({draw.distribution for draw in draws}) >= 3
    assert len({draw.seed for draw in draws}) == len(draws)
    assert {d.workload.name for d in draws if d.distribution == "normal"} == {w.name for w in workloads}


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
def test_integer_inputs_and_plain_values_stay_as_they_were_made(distribution: str) -> None:
    table, index, scale = make_case(embedding(), Draw(Workload(name="w"), distribution, 3)).inputs
    assert table.dtype == torch.bfloat16
    assert index.dtype == torch.int64
    assert 0 <= int(index.min()) <= int(index.max()) < 50
    assert scale == 3


def test_constant_parameters_are_drawn() -> None:
    model = make_case(LAYERNORM, Draw(TINY, "normal", 1)).model
    for parameter in model.parameters():
        assert parameter.unique().numel() > 10


def test_onehot_has_one_element_a_row_and_the_last_in_the_first_row() -> None:
    (x,) = make_case(LAYERNORM, Draw(TINY, "onehot", 5)).inputs
    assert (x != 0).sum(dim=1).tolist() == [1, 1, 1]
    assert x[0, -1] != 0


def test_integers_are_few_and_exact() -> None:
    (x,) = make_case(LAYERNORM, Draw(TINY, "integer", 5)).inputs
    assert x.unique().numel() == 5


def test_range_spans_many_powers_of_two() -> None:
    (x,) = make_case(LAYERNORM, Draw(TINY, "range", 5)).inputs
    assert float(x.abs().max() / x.abs().min()) > 2**8
    assert (x > 0).any()
    assert (x < 0).any()
