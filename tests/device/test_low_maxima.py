"""Some row of `negative` draws shows a maximum that starts at zero, wherever the reference takes it."""

from pathlib import Path

import pytest
import torch
from torch import nn

from kopt.device.draws.distributions import Draw, make_case
from kopt.model.problem import Problem, Workload
from kopt.problem.folder import load

torch.set_num_threads(1)  # other tests fork this process

MATVEC = load(Path(__file__).parents[2] / "config" / "problems" / "matvec")
REFERENCE = """
import torch
import torch.nn.functional as F
from torch import nn

class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = {layer}

    def forward(self, {names}):
        return {value}

def get_inputs():
    return [{inputs}]

def get_init_inputs():
    return []
"""
FAR_BELOW = -104
"""Number below which float32 has no exponential but zero."""
Q, KV = "torch.randn(2, 20, 16)", "torch.randn(2, 50, 16)"

SCORES = {
    "softmax of a vector": ("x", "torch.softmax(x, -1)", "torch.randn(50)", lambda x: x),
    "log-sum-exp": ("x", "x.logsumexp(0)", "torch.randn(50, 6)", lambda x: x.T),
    "a sum": ("x, y", "torch.softmax(x + y, -1)", "torch.randn(5, 50), torch.randn(5, 50)", lambda x, y: x + y),
    "a difference": ("x, y", "torch.softmax(y - x, -1)", "torch.randn(5, 50), torch.randn(5, 50)", lambda x, y: y - x),
    "weights": ("x, w", "torch.softmax(x * w, -1)", "torch.randn(5, 50), torch.randn(50)", lambda x, w: x * w),
    "attention": (
        "q, k, v", "torch.softmax(q @ k.mT / 4, -1) @ v", f"{Q}, {KV}, {KV}", lambda q, k, v: q @ k.mT / 4
    ),
    "fused attention, values first": (
        "v, k, q", "F.scaled_dot_product_attention(q, k, v)", f"{KV}, {KV}, {Q}", lambda v, k, q: q @ k.mT / 4
    ),
    "attention after a residual": (
        "r, q, k, v", "r + torch.softmax(q @ k.mT / 4, -1) @ v", f"{Q}, {Q}, {KV}, {KV}",
        lambda r, q, k, v: q @ k.mT / 4,
    ),
    "cross entropy of a product": (
        "w, x, y", "F.cross_entropy(x @ w.T, y)", "torch.randn(50, 16), torch.randn(20, 16), torch.arange(20)",
        lambda w, x, y: x @ w.T,
    ),
    "the largest products": (
        "x, w", "(x @ w).topk(9).values", "torch.randn(20, 16), torch.randn(16, 50)", lambda x, w: x @ w
    ),
    "masked attention": (
        "q, k, v, m", "torch.softmax((q @ k.mT).masked_fill(m, -torch.inf), -1) @ v",
        f"{Q}, {KV}, {KV}, (torch.arange(50) < torch.randint(9, 40, (20, 1)))",
        lambda q, k, v, m: (q @ k.mT).masked_fill(m, -torch.inf),
    ),
    "the largest distance": ("x, y", "-torch.cdist(x, y).amax(-1)", f"{Q}, {KV}", lambda x, y: -torch.cdist(x, y)),
}  # fmt: skip


def inputs_of(layer: str, names: str, value: str, made: str) -> tuple[nn.Module, tuple[torch.Tensor, ...]]:
    source = REFERENCE.format(layer=layer, names=names, value=value, inputs=made)
    whole = Workload(name="whole")
    parts = {"name": "made", "reference": source, "small": [whole], "main": [whole], "hidden": [], "dtype": "float32"}
    case = make_case(Problem.model_validate(MATVEC.model_dump() | parts), Draw(whole, "negative", 1))
    return case.model.layer, case.inputs


@pytest.mark.parametrize("name", SCORES)
def test_all_scores_of_a_row_are_far_below_zero(name):
    names, value, made, scores = SCORES[name]
    _, inputs = inputs_of("None", names, value, made)
    assert float(scores(*inputs).amax(-1).min()) < FAR_BELOW


@pytest.mark.parametrize(
    ("layer", "value", "made"),
    [("nn.Linear(16, 50)", "self.layer(x).logsumexp(-1)", "torch.randn(9, 16)"),
     ("nn.Linear(16, 50)", "F.cross_entropy(self.layer(x), torch.arange(9))", "torch.randn(9, 16)"),
     ("nn.Conv2d(3, 4, 3)", "self.layer(x).amax((2, 3))", "torch.randn(3, 3, 9, 9)")],
)  # fmt: skip
def test_so_are_those_that_a_layer_computes(layer, value, made):
    module, (x,) = inputs_of(layer, "x", value, made)
    scores = module(x)
    assert float(scores.flatten(min(scores.dim() - 1, 2)).amax(-1).min()) < FAR_BELOW / 4


@pytest.mark.parametrize(
    ("layers", "value"),
    [("*(nn.Linear(16, 16) for _ in range(99))", "self.layer(x).amax(-1)"),  # positive ones leave the domain
     ("nn.Linear(16, 16)", "self.layer(x)"),
     ("nn.Linear(16, 16)", "F.layer_norm(self.layer(x), (16,)).softmax(-1)")],
)  # fmt: skip
def test_weights_stay_as_they_are_where_they_lower_no_maximum(layers, value):
    module, _ = inputs_of(f"nn.Sequential({layers})", "x", value, "torch.randn(9, 16)")
    assert bool((module[0].weight < 0).any())


def test_other_inputs_have_both_signs_where_they_lower_no_maximum():
    _, (x, w) = inputs_of("None", "x, w", "F.layer_norm(x @ w, (50,))", "torch.randn(9, 16), torch.randn(16, 50)")
    assert bool((x < FAR_BELOW).all(-1)[0])
    assert bool((w < 0).any())
    assert bool((w > 0).any())
