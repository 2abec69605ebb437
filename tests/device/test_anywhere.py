"""References as people write them are set up on meta tensors, on a pretended GPU and on the CPU."""

from pathlib import Path

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._pytree import tree_leaves

from kopt.device.build.stub_gpu import pretend
from kopt.device.build.trace import prepare
from kopt.device.draws.distributions import Draw, make_case
from kopt.device.expected.calibration import calibrate
from kopt.device.expected.outputs import run_model
from kopt.device.expected.runs import in_dtype
from kopt.device.facts.facts import problem_facts
from kopt.device.reference.trial import slow_small
from kopt.errors import ProblemError
from kopt.load_config import load_device
from kopt.model.kernel import Kernel
from kopt.model.problem import Dtype, Problem, Workload

DEVICE = load_device("h100", Path(__file__).parents[2])


def problem_of(
    *, top="", init="pass", forward="return x * 2", inputs="[torch.randn(M, N)]", init_inputs="[]",
    arguments="x", init_arguments="", dtype="bfloat16",
):  # fmt: skip
    source = f"""
import torch
from torch import nn
import torch.nn.functional as F
M = 8
N = 32
{top}

class Model(nn.Module):
    def __init__(self, {init_arguments}):
        super().__init__()
        {init.replace(chr(10), chr(10) + " " * 8)}

    def forward(self, {arguments}):
        {forward.replace(chr(10), chr(10) + " " * 8)}

def get_inputs():
    return {inputs}

def get_init_inputs():
    return {init_inputs}
"""
    return Problem(
        name="written", reference=source, seed=Kernel(source=""), dtype=Dtype(dtype),
        main=(Workload(name="full", constants={"M": 1 << 24}),), small=(Workload(name="small"),),
    )  # fmt: skip


REFERENCES = {
    "devices in the source": {
        "top": "device = torch.device('cuda' if torch.cuda.is_available() else 'cpu')\ntorch.cuda.synchronize()",
        "init": "self.w = nn.Parameter(torch.randn(N, device='cuda'))\nself.cuda().to('cuda:0')",
        "forward": "assert x.is_cuda\nreturn x.cuda() * self.w.to(device) + torch.arange(N, device='cuda')",
        "inputs": "[torch.randn(M, N, device=device).cuda()]",
    },
    "device of the CPU": {"inputs": "[torch.randn(M, N, device='cpu').cpu()]"},
    "a generator": {"inputs": "[torch.randn(M, N, generator=torch.Generator('cuda').manual_seed(1), device='cuda')]"},
    "tensors from numbers": {
        "init": "self.s = nn.Parameter(torch.tensor(2.0))\nself.register_buffer('t', torch.tensor([1., 2.]))",
        "forward": "return x * self.s + torch.tensor(1.0, device=x.device) + self.t.sum() + x.new_tensor(3.0)",
    },
    "tensors from numpy": {
        "top": "import numpy as np",
        "init": "self.w = nn.Parameter(torch.from_numpy(np.ones(N, np.float32)))\nself.l = torch.FloatTensor([2])",
        "forward": "return x * self.w + self.l.to(x)",
    },
    "values of constants": {"init": "self.r = [float(torch.tensor(2.0)), *(v.item() for v in torch.arange(3))]"},
    "a tensor of the module": {"top": "MASK = torch.tril(torch.ones(N, N))", "forward": "return x @ MASK.to(x)"},
    "batch norm": {"init": "self.bn = nn.BatchNorm1d(N)", "forward": "return self.bn(x)"},
    "dropout in evaluation": {"init": "self.d = nn.Dropout(0.5)", "forward": "return self.d(x) * 2"},
    "attention": {
        "inputs": "[torch.randn(1, 2, N, 16) for _ in range(3)]",
        "arguments": "q, k, v",
        "forward": "return F.scaled_dot_product_attention(q, k, v, is_causal=True)",
    },
    "LSTM": {
        "init": "self.r = nn.LSTM(N, 8, batch_first=True)",
        "inputs": "[torch.randn(M, 5, N)]",
        "forward": "return self.r(x)[0]",
    },
    "GRU": {"init": "self.r = nn.GRU(N, 8)", "inputs": "[torch.randn(5, M, N)]", "forward": "return self.r(x)[0]"},
    "cdist": {"forward": "return torch.cdist(x, x + 1)", "inputs": "[torch.randn(N, N)]"},
    "float32 inside": {
        "init": "self.w = nn.Parameter(torch.randn(N, N))",
        "forward": "return F.linear(x.float(), self.w.float()).to(x.dtype)",
    },
    "float32 beside float32": {
        "init": "self.w = nn.Parameter(torch.randn(N, N))",
        "forward": "return torch.zeros(N, N) @ self.w + F.linear(x.float(), self.w)",
        "inputs": "[torch.randn(N, N)]",
        "dtype": "float32",
    },
    "average pooling in bfloat16": {"init": "self.p = nn.AvgPool3d(2)", "inputs": "[torch.randn(M, 3, 8, 8, 8)]",
                                    "forward": "return self.p(x)"},
    "one tensor": {"inputs": "torch.randn(M, N)"},
    "inputs by name": {
        "inputs": "{'y': torch.randn(M, N), 'x': torch.randn(M, N)}",
        "arguments": "x, scale=2.0, y=None",
        "forward": "return x * scale - y",
    },
    "numbers and None": {
        "inputs": "(torch.randn(M, N), 3, None, True)",
        "arguments": "x, n, m, b",
        "forward": "return x * n if b and m is None else x",
    },
    "integers": {
        "init": "self.e = nn.Embedding(N, 8)",
        "inputs": "[torch.randint(0, N, (M,))]",
        "forward": "return self.e(x)",
    },
    "arguments of the model by name": {
        "init_arguments": "k", "init": "self.k = k", "init_inputs": "{'k': 3}", "forward": "return x * self.k",
    },
    "one argument of the model": {
        "init_arguments": "k", "init": "self.k = k", "init_inputs": "3", "forward": "return x * self.k",
    },
    "lazy layers": {"init": "self.l = nn.LazyLinear(8)", "forward": "return self.l(x)"},
    "weight norm": {"init": "self.l = nn.utils.weight_norm(nn.Linear(N, 8))", "forward": "return self.l(x)"},
    "what it prints": {"top": "print('import')", "forward": "print(x.shape)\nreturn x * 2"},
    "defaults of torch": {
        "top": "torch.set_default_dtype(torch.float16)\ntorch.set_default_device('cuda')",
    },
    "gradients": {
        "forward": "x = x.detach().requires_grad_(True)\n(g,) = torch.autograd.grad((x ** 3).sum(), x)\nreturn g",
    },
    "a compiled function": {"top": "@torch.compile\ndef f(x):\n    return x * 2", "forward": "return f(x)"},
    "a dataclass": {
        "top": "from dataclasses import dataclass\n@dataclass\nclass C:\n    n: 'int' = 3",
        "forward": "return x * C().n",
    },
}  # fmt: skip


@pytest.mark.parametrize("name", REFERENCES)
def test_a_reference_is_set_up_everywhere(name, capsys):
    problem = problem_of(**REFERENCES[name])
    (facts,) = problem_facts(problem).workloads
    with pretend(DEVICE, pytest.fail), FakeTensorMode(allow_non_fake_inputs=True):
        prepared = prepare(problem, problem.main[0])
        tensors = [t for t in tree_leaves(prepared.inputs) if isinstance(t, torch.Tensor)]
        assert {t.device.type for t in [*tensors, *prepared.model.state_dict().values()]} == {"cuda"}
        (contract,) = prepared.contract.outputs
        assert (contract.device, contract.shape) == ("cuda", facts.outputs[0].shape)
    case = make_case(problem, Draw(problem.small[0], "normal", 1))
    (eager,) = run_model(case.model, case.inputs).tensors
    assert eager.device.type == "cpu"
    assert eager.isfinite().all()
    torch.testing.assert_close(eager.double(), in_dtype(case, torch.float64)[0], rtol=0.1, atol=0.1)
    assert capsys.readouterr().out == ""
    assert torch.get_default_dtype() is torch.float32


def test_float32_in_the_source_does_not_limit_the_float64_reference():
    problem = problem_of(forward="return x.float() / 3", dtype="float32")
    case = make_case(problem, Draw(problem.small[0], "normal", 1))
    torch.testing.assert_close(in_dtype(case, torch.float64)[0], case.inputs[0].double() / 3, rtol=1e-15, atol=0)


def test_a_rounded_operation_is_rounded_once_and_its_neighbours_as_usual():
    problem = problem_of(
        init="self.p = nn.AvgPool3d(2)", inputs="[torch.randn(M, 3, 8, 8, 8)]", forward="return self.p(x) * 3"
    )
    case = make_case(problem, Draw(problem.small[0], "normal", 1))
    pooled = torch.nn.functional.avg_pool3d(case.inputs[0].float(), 2).bfloat16()
    assert torch.equal(run_model(case.model, case.inputs).tensors[0], pooled * 3)


REFUSED = {
    "a missing package": ({"top": "from nowhere_found.parts import x"}, "line 7 imports nowhere_found, which is not"),
    "reading a value": (
        {"forward": "return x * int(x.sum().item())"}, "line 15, `return x * int(x.sum().item())`: it reads values"
    ),
    "a boolean mask": ({"forward": "return x[x > 0]"}, "line 15, `return x[x > 0]`: it reads values"),
    "a condition": (
        {"forward": "return x if x.sum() > 0 else -x"}, "line 15, `return x if x.sum() > 0 else -x`: it reads values"
    ),
    "an error": ({"init": "raise ValueError('no ' * 500)"}, "line 12, raises ValueError: no no"),
    "an exit": ({"top": "raise SystemExit(1)"}, "line 7, raises SystemExit: 1"),
    "an unknown input": ({"inputs": "{'z': torch.randn(M, N)}", "arguments": "x, y"}, "names 'z', not an argument of"),
    "a missing input": ({"inputs": "{'y': torch.randn(M, N)}", "arguments": "x, y"}, "gives no 'x'"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_what_a_reference_raises_is_one_line_with_its_place(name):
    parts, said = REFUSED[name]
    problem = problem_of(**parts)
    with pytest.raises(ProblemError) as caught, pretend(DEVICE, pytest.fail), FakeTensorMode():
        prepare(problem, problem.main[0])
    message = str(caught.value)
    assert said in message
    assert "\n" not in message
    assert len(message) <= 300


@pytest.mark.parametrize(
    "forward",
    [
        "return F.dropout(x, training=True)",
        "self.train()\nreturn F.dropout(x, 0.1, self.training)",
        "return x + 1e-3 * torch.rand_like(x)",
    ],
)
def test_a_random_reference_is_refused(forward):
    problem = problem_of(forward=forward)
    with pytest.raises(ProblemError, match="another output at every call with equal inputs"):
        calibrate(problem, problem.small)


def test_a_reference_that_keeps_state_is_refused():
    problem = problem_of(init="self.n = 0", forward="self.n += 1\nreturn x * self.n")
    with pytest.raises(ProblemError, match="at its second call"):
        calibrate(problem, problem.small)


def test_a_reference_may_return_the_buffers_that_it_updates():
    forward = "self.sum += x.sum(0)\nself.sum *= 0.5\nreturn x, self.sum"
    problem = problem_of(init="self.register_buffer('sum', torch.zeros(N))", forward=forward)
    assert calibrate(problem, problem.small).refusal == ""


def test_a_small_workload_that_is_not_small_is_named_with_its_size():
    problem = problem_of()
    assert slow_small(problem) == ""
    large = problem.model_copy(update={"small": (*problem.small, Workload(name="tiles", constants={"M": 65536}))})
    assert "small workload tiles (65536x32, 2,097,152 elements)" in slow_small(large)
