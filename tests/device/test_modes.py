"""A reference is called in evaluation mode, save for what its own code puts into training mode."""

import pytest

from kopt.device.draws.distributions import Case
from kopt.device.expected.outputs import changed_reason, run_reference
from kopt.device.reference.setup import load_reference, make_inputs, make_model
from tests.device.small import SCALE

REFERENCE = """
import torch
from torch import nn

class Model(nn.Module):
    def __init__(self):
        super().__init__()
        {before}
        self.bn = nn.BatchNorm1d(8)
        self.other = nn.Sequential(nn.BatchNorm1d(8))
        {after}

    def forward(self, x):
        {forward}
        return self.other(self.bn(x))

def get_inputs():
    return [torch.randn(16, 8)]

def get_init_inputs():
    return []
"""
BN, OTHER = (
    {"buffer bn.running_mean", "buffer bn.running_var"},
    {"buffer other.0.running_mean", "buffer other.0.running_var"},
)
CASES = {
    "nothing is said": ({}, set()),
    "at the end": ({"after": "self.train()"}, BN | OTHER),
    "before modules are made": ({"before": "self.train()"}, BN | OTHER),
    "one module": ({"after": "self.bn.train()"}, BN),
    "a flag": ({"after": "self.bn.training = True"}, BN),
    "a frozen part": ({"after": "self.train(); self.other.eval()"}, BN),
    "in every call": ({"forward": "self.train()"}, BN | OTHER),
    "evaluation": ({"after": "self.eval()"}, set()),
}


@pytest.mark.parametrize("name", CASES)
def test_running_statistics_change_where_the_model_asks_for_training_mode(name):
    places, changed = CASES[name]
    text = REFERENCE.format(**{"before": "pass", "after": "pass", "forward": "pass"} | places)
    problem = SCALE.model_copy(update={"reference": text})
    reference = load_reference(problem, SCALE.small[0].model_copy(update={"constants": {}}))
    case = Case(reference, make_model(reference, problem), make_inputs(reference, problem))
    assert set(run_reference(problem, case).arguments) == changed


def test_a_kernel_that_updates_running_statistics_is_told_of_evaluation_mode():
    assert "evaluation mode" in changed_reason("buffer bn.running_mean")
    assert "self.train()" in changed_reason("buffer bn.running_mean")
    assert "evaluation mode" not in changed_reason("buffer cache")
    assert "evaluation mode" not in changed_reason("input x")
