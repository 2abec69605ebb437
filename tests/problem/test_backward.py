"""The gradient of a reference is a problem, which the judge compares with autograd in float64."""

import pytest
import torch

from kopt.device.draws.distributions import Draw, make_case
from kopt.device.expected.calibration import calibrate
from kopt.device.expected.expected_output import expected_result
from kopt.errors import ProblemError
from kopt.model.problem import Dtype, Workload
from kopt.problem.backward import gradient_of, renamed
from kopt.problem.draft import Draft

FORWARD = """import torch
from torch import nn

rows = 48
wide = 40

class Model(nn.Module):
    def __init__(self, n):
        super(Model, self).__init__()
        self.linear = nn.Linear(n, n)
        self.unused = nn.Parameter(torch.ones(3))

    def forward(self, x, index, scale):
        y = torch.tanh(self.linear(x)) * scale
        return y[index], y.sum()

def get_inputs():
    return {given}

def get_init_inputs():
    return [wide]
"""
FORMS = {
    "list": "[torch.randn(rows, wide), torch.randint(0, rows, (rows,)), torch.randn(wide)]",
    "names": "dict(scale=torch.randn(wide), x=torch.randn(rows, wide), index=torch.randint(0, rows, (rows,)))",
}
SMALL = Workload(name="small", constants={"rows": 6, "wide": 5})


@pytest.fixture(scope="module", params=FORMS)
def gradient(request):
    """The gradient of a reference with several inputs, an index, parameters and two outputs."""
    draft = Draft(name="g", reference=FORWARD.format(given=FORMS[request.param]), small=(SMALL,), hidden=())
    return gradient_of(draft)


def test_the_expected_gradient_is_autograd_s_in_float64(gradient):
    problem = gradient.problem
    case = make_case(problem, Draw(SMALL, "given", 3))
    expected = expected_result(problem, case)
    x, index, scale, grad, grad_sum = (t.double() if t.is_floating_point() else t for t in case.inputs)
    state = {n.rpartition(".")[2]: p.double() for n, p in case.model.named_parameters() if "linear" in n}
    leaves = [t.clone().requires_grad_() for t in (x, scale, state["weight"], state["bias"])]
    y = torch.tanh(leaves[0] @ leaves[2].T + leaves[3]) * leaves[1]
    right = torch.autograd.grad([y[index], y.sum()], leaves, [grad, grad_sum])
    assert len(expected.tensors) == 4
    for own, wanted in zip(expected.tensors, right, strict=True):
        torch.testing.assert_close(own.output, wanted, rtol=1e-12, atol=1e-12)
        assert own.contract.dtype is torch.float32
    assert any("no gradient: unused" in note for note in gradient.notes)


def test_the_judge_tells_a_right_gradient_from_wrong_ones(gradient):
    assert not calibrate(gradient.problem, gradient.problem.small).refusal


def test_a_gradient_in_low_precision_for_one_input_alone():
    draft = Draft(name="g", reference=FORWARD.format(given=FORMS["list"]), small=(SMALL,), dtype=Dtype.BFLOAT16)
    result = gradient_of(draft, ("x",))
    assert [(spec.name, spec.dtype) for spec in result.signature.outputs] == [("output", "bfloat16")]
    with pytest.raises(ProblemError, match=r"'y' has no gradient; x, scale, linear.weight, linear.bias have one"):
        gradient_of(draft, ("y",))


@pytest.mark.parametrize(
    ("forward", "said"),
    [
        ("x.argmax(1)", "the reference has no gradient"),
        ("torch.no_grad()(torch.tanh)(x)", "the reference has no gradient"),
        (
            "x.add_(1)",
            "the reference cannot be differentiated: problem.py, line 9, `return x.add_(1)`, raises RuntimeError",
        ),
    ],
)
def test_a_reference_without_gradient_is_told(forward, said):
    source = FORWARD.format(given="[torch.randn(rows, wide)]").replace("self, x, index, scale", "self, x")
    lines = [line for line in source.splitlines() if "linear" not in line and "unused" not in line]
    source = "\n".join(lines).replace("return y[index], y.sum()", f"return {forward}")
    with pytest.raises(ProblemError) as caught:
        gradient_of(Draft(name="g", reference=source, small=(SMALL,), hidden=()))
    assert said.split(", line")[0] in str(caught.value)


def test_only_names_are_renamed():
    source = "class Model(nn.Module):  # Model\n    def f(self): return super(Model, self).Model + 'Model'\n"
    assert renamed(source) == source.replace("class Model", "class Forward").replace("super(Model", "super(Forward")


NORM = """import torch
from torch import nn

rows = 24
wide = 40

class Model(nn.Module):
    def __init__(self, n):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(n))

    def forward(self, x, residual):
        x = x + residual
        rstd = torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-5)
        y = x * rstd * self.weight
        return y, rstd

def get_inputs():
    return {given}

def get_init_inputs():
    return [wide]
"""
GIVEN = {
    "list": "[torch.randn(rows, wide), torch.randn(rows, wide)]",
    "names": "dict(residual=torch.randn(rows, wide), x=torch.randn(rows, wide))",
}


@pytest.mark.parametrize("dtype", [Dtype.FLOAT32, Dtype.BFLOAT16])
@pytest.mark.parametrize("form", GIVEN)
def test_what_the_forward_pass_saves_agrees_with_the_other_inputs_of_every_draw(form, dtype):
    draft = Draft(name="g", reference=NORM.format(given=GIVEN[form]), small=(SMALL,), hidden=(), dtype=dtype)
    problem = gradient_of(draft, saved=("rstd",)).problem
    for kind in ("given", "normal", "negative"):
        case = make_case(problem, Draw(SMALL, kind, 3))
        x, residual, rstd, _grad_y = case.inputs
        assert torch.equal(rstd, case.model.forward_model(x, residual)[1])
        assert rstd.dtype is x.dtype


def test_a_gradient_reads_what_the_forward_pass_saves_in_place_of_computing_it():
    draft = Draft(name="g", reference=NORM.format(given=GIVEN["list"]), small=(SMALL,), hidden=())
    problem = gradient_of(draft, ("x",), ("rstd",)).problem
    case = make_case(problem, Draw(SMALL, "normal", 3))
    x, residual, rstd, grad = (t.double() for t in case.inputs)
    weight = case.model.forward_model.weight.double()
    (expected,) = expected_result(problem, case).tensors
    total, scaled = x + residual, grad * weight
    for factor in (1.0, 1.5):
        own = rstd * factor
        right = scaled * own - total * own**3 * (scaled * total).mean(-1, keepdim=True)
        with torch.no_grad():
            given = case.model.double()(x, residual, own, grad)
        torch.testing.assert_close(given, right)
        if factor == 1.0:
            torch.testing.assert_close(expected.output, right)


def test_a_single_output_that_is_saved_keeps_its_gradient():
    source = FORWARD.format(given="[torch.randn(rows, wide)]").replace("self, x, index, scale", "self, x")
    lines = [line for line in source.splitlines() if "linear" not in line and "unused" not in line]
    source = "\n".join(lines).replace("return y[index], y.sum()", "return torch.softmax(x, 1)")
    result = gradient_of(Draft(name="g", reference=source, small=(SMALL,), hidden=()), saved=("output",))
    assert [spec.name for spec in result.signature.inputs] == ["x", "output", "grad_output"]
    assert not calibrate(result.problem, result.problem.small).refusal


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("z", "--save z: the outputs are output[0], output[1], y, rstd"),
        ("y", "--save y: autograd does not keep this output for the backward pass; it keeps output[1], rstd"),
        ("output[0]", "--save output[0]: autograd does not keep this output for the backward pass; it keeps output[1]"),
    ],
)
def test_what_cannot_be_saved_is_told(name, said):
    draft = Draft(name="g", reference=NORM.format(given=GIVEN["list"]), small=(SMALL,), hidden=())
    with pytest.raises(ProblemError) as caught:
        gradient_of(draft, saved=(name,))
    assert said in str(caught.value)


MODES = """import torch
from torch import nn

rows = 24
wide = 40

class Model(nn.Module):
    def __init__(self, n):
        super().__init__()
        self.first = nn.BatchNorm1d(n)
        self.second = nn.Sequential(nn.BatchNorm1d(n))
        {mode}

    def forward(self, x):
        y = self.second(torch.tanh(self.first(x)))
        sums = [y.exp().sum(-1) for one in (self, self.first, self.second) if one.training]
        return (y, *sums, y[0].square())

def get_inputs():
    return [torch.randn(rows, wide)]

def get_init_inputs():
    return [wide]
"""


@pytest.mark.parametrize(
    ("mode", "first", "second", "outputs"),
    [("pass", False, False, 2), ("self.train()", True, True, 5), ("self.first.train()", True, False, 3),
     ("self.second[0].train()", False, True, 2), ("self.train(); self.second.eval()", True, False, 4)],
)  # fmt: skip
def test_the_forward_pass_keeps_the_mode_that_the_model_s_own_code_sets(mode, first, second, outputs):
    """Of the structure of its outputs too, which follows from the mode here."""
    draft = Draft(name="g", reference=MODES.format(mode=mode), small=(SMALL,), hidden=())
    problem = gradient_of(draft, ("x",)).problem
    case = make_case(problem, Draw(SMALL, "normal", 3))
    x, *grads = case.inputs
    assert [tuple(grad.shape) for grad in grads] == [(6, 5), *[(6,)] * (outputs - 2), (5,)]
    (expected, *_) = expected_result(problem, case).tensors
    forward = case.model.forward_model.double()
    leaf, own = x.double().requires_grad_(), (forward.first, forward.second[0])

    def normed(y, norm, training):
        state = (None, None) if training else (norm.running_mean, norm.running_var)
        return torch.nn.functional.batch_norm(y, *state, norm.weight, norm.bias, training)

    y = normed(torch.tanh(normed(leaf, own[0], first)), own[1], second)
    results = [y, *[y.exp().sum(-1)] * (outputs - 2), y[0].square()]
    (right,) = torch.autograd.grad(results, [leaf], [grad.double() for grad in grads])
    torch.testing.assert_close(expected.output, right)
