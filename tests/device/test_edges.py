"""Every input and parameter of which a divisor, a norm or a maximum is made gets edges, whatever the seed."""

from pathlib import Path

import pytest
import torch

from kopt.device.draws.distributions import Draw, make_case, plan
from kopt.device.draws.edges import MOST_SETS, one_of_each, own_edges
from kopt.device.draws.forms import further_edges
from kopt.model.problem import Problem, Workload
from kopt.problem.folder import load

torch.set_num_threads(1)  # other tests fork this process

PROBLEMS = Path(__file__).parents[2] / "config" / "problems"
SOFTMAX = load(PROBLEMS / "softmax")
WHOLE, OTHER = Workload(name="whole"), Workload(name="other", constants={"N": 40})
REFERENCE = """
import torch
import torch.nn.functional as F
from torch import nn

N = 50

class Model(nn.Module):
    def __init__(self):
        super().__init__()
        {state}

    def forward(self, {names}):
        return {value}

def get_inputs():
    return [{inputs}]

def get_init_inputs():
    return []
"""


def problem(names: str, value: str, inputs: str = "", state: str = "pass") -> Problem:
    given = inputs or ", ".join("torch.randn(6, N)" for _ in names.split(","))
    parts = {
        "name": "made", "reference": REFERENCE.format(names=names, value=value, inputs=given, state=state),
        "small": [WHOLE, OTHER], "main": [WHOLE], "hidden": [], "dtype": "float32", "inputs": {},
    }  # fmt: skip
    return Problem.model_validate(SOFTMAX.model_dump() | parts)


def near_zero(edges: str) -> dict[str, set[str]]:
    return {kind: {edges} for kind in ("tiny", "equal", "zeros")}


NORM = "{0} * torch.rsqrt({0}.square().mean(-1, keepdim=True) + 1e-5)"
FURTHER = {
    "one input": ("x", "F.layer_norm(x, (N,)).softmax(-1) / x.norm()", "pass", {}),
    "sums and products alone": ("x, y, z", "x * y + y @ z.T @ z", "pass", {}),
    "a norm of the second input": (
        "x, y", "x * " + NORM.format("y"), "pass", near_zero("y") | {"extreme": {"y"}},
    ),
    "two norms": (
        "x, y", "F.layer_norm(x, (N,)) + F.normalize(y)", "pass",
        {"tiny": {"x", "y"}, "equal": {"y"}, "zeros": {"y"}, "extreme": {"y"}},
    ),
    "a norm of a sum": ("x, r", "F.layer_norm(x + r, (N,))", "pass", {"equal": {"x, r"}, "zeros": {"x, r"}}),
    "a norm of the sum of two of three": (
        "w, x, r", "w * F.layer_norm(x + r, (N,))", "pass",
        near_zero("x, r") | {"extreme": {"x"}},
    ),
    "sums of two norms": (
        "x, y", "F.normalize(F.normalize(x) + F.normalize(y))", "pass",
        {"tiny": {"x", "y"}, "equal": {"y"}, "zeros": {"y"}, "extreme": {"y"}},
    ),
    "a divisor": ("x, y", "x / (y.sum(-1, keepdim=True).abs() + 1e-6)", "pass",
                  near_zero("y") | {"extreme": {"y"}}),
    "a maximum of the second input": ("x, y", "x + y.amax(-1, keepdim=True)", "pass",
                                      {"negative": {"y"}, "extreme": {"y"}}),
    "two softmaxes": ("x, y", "x.softmax(-1) + y.softmax(-1)", "pass", {"negative": {"y"}, "extreme": {"y"}}),
    "a bias before a norm": (
        "x", "F.layer_norm(self.layer(x), (N,))", "self.layer = nn.Linear(N, N)",
        near_zero("x, layer.bias"),
    ),
    "a running variance": (
        "x", "self.norm(x)", "self.norm = nn.BatchNorm1d(N)", near_zero("norm.running_var"),
    ),
    "batch statistics": ("x", "self.norm(x)", "self.norm = nn.BatchNorm1d(N).train()", {}),
    "a softmax of weights": (
        "x", "x @ self.w.softmax(-1)", "self.w = nn.Parameter(torch.randn(N, N))",
        {"large": {"w"}, "negative": {"w"}},
    ),
    "a normalised weight": (
        "x", "x @ F.normalize(self.w)", "self.w = nn.Parameter(torch.randn(N, N))", near_zero("w"),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", FURTHER)
def test_further_draws_have_the_edges_that_the_usual_ones_leave_out(name):
    names, value, state, further = FURTHER[name]
    found: dict[str, set[str]] = {}
    for kind, edges in further_edges(problem(names, value, state=state)):
        found.setdefault(kind, set()).add(edges)
    assert found == further


@pytest.mark.parametrize("seed", [1, 2])
def test_what_is_named_has_the_edges_alone(seed):
    made = problem("w, x, r", "w * F.layer_norm(x + r, (N,), eps=1e-6)")
    w, x, r = make_case(made, Draw(WHOLE, "zeros", seed, "x, r")).inputs
    assert bool((w != 0).all())
    assert not x[::2].any()
    assert not r[::2].any()
    assert bool((x[1::2] != 0).all())
    w, x, r = make_case(made, Draw(WHOLE, "equal", seed, "x, r")).inputs
    assert (x + r).std(-1).max() == 0 < w.std(-1).min()
    w, x, r = make_case(made, Draw(WHOLE, "tiny", seed, "x, r")).inputs
    assert float((x + r).abs().max()) < 0.02 < float(w.abs().max())
    w, x, r = make_case(made, Draw(WHOLE, "extreme", seed, "x")).inputs
    assert float(x.abs().max()) > 1e15 > 1e3 > float(w.abs().max() + r.abs().max())


def test_parameters_and_buffers_have_the_edges_and_keep_their_sign():
    made = problem("x", "F.layer_norm(self.layer(x), (N,))", state="self.layer = nn.Linear(N, N)")
    case = make_case(made, Draw(WHOLE, "zeros", 1, "x, layer.bias"))
    assert not case.model.layer.bias.any()
    assert not case.model.layer(case.inputs[0])[0].any()
    made = problem("x", "self.norm(x)", state="self.norm = nn.BatchNorm1d(N)")
    variance = make_case(made, Draw(WHOLE, "tiny", 1, "norm.running_var")).model.norm.running_var
    assert 0 <= float(variance.min()) <= float(variance.max()) < 0.02


def test_further_draws_come_last_on_other_workloads_with_seeds_of_their_own():
    made = problem("x, y", "F.layer_norm(x, (N,)) + F.normalize(y)")
    usual, every = plan(made.small, 7), plan(made.small, 7, further=further_edges(made))
    assert every[: len(usual)] == usual
    assert len({draw.seed for draw in every}) == len(every)
    usual_place = {draw.distribution: draw.workload for draw in usual}
    for draw in (draw for draw in every[len(usual) :] if draw.edges == "y" and draw.distribution != "tiny"):
        assert draw.workload != usual_place[draw.distribution]
    assert [(one.distribution, one.edges) for one in every] == [
        (one.distribution, one.edges) for one in plan(made.small, 8, further=further_edges(made))
    ]


def test_a_draw_says_what_has_its_edges():
    assert Draw(WHOLE, "zeros", 1).where == "small workload whole, zeros inputs"
    assert Draw(WHOLE, "zeros", 1, "y, norm.bias").where == "small workload whole, zeros inputs (y, norm.bias)"
    assert Draw(WHOLE, "zeros", 1, "y").label == "zeros (y)"


def test_unions_of_sets_need_no_edges_of_their_own_and_many_sets_share_the_last():
    a, b, c = frozenset({0}), frozenset({1}), frozenset({2})
    assert own_edges([a, b, a | b, a | c]) == [a, b, a | c]
    many = [frozenset({at}) for at in range(MOST_SETS + 3)]
    assert own_edges(many) == [*many[: MOST_SETS - 1], frozenset(range(MOST_SETS - 1, MOST_SETS + 3))]
    assert one_of_each([a, a | b, b | c, frozenset({"weight"})], {0}) == [b]
    assert one_of_each(many, {0}) == own_edges(many[1:])


@pytest.mark.parametrize("name", ["softmax", "layernorm", "rmsnorm", "matvec", "maxpool3d"])
def test_problems_of_one_tensor_of_data_are_drawn_as_before(name):
    made = load(PROBLEMS / name)
    assert plan(made.small, 3, further=further_edges(made)) == plan(made.small, 3)
