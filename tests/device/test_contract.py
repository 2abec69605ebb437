import pytest
import torch

from kopt.device.reference.contract import bind_arguments, load_candidate
from kopt.device.reference.rejection import REASON_CHARS, Rejected, bounded, neutral
from kopt.device.reference.setup import load_reference, make_inputs, make_model
from kopt.errors import ProblemError
from kopt.model.build import Phase
from kopt.model.kernel import Kernel
from kopt.model.problem import Workload
from tests.device.small import SCALE

SMALL = SCALE.small[0]
BARE = Workload(name="bare")
TWICE = """
import torch

class Model(torch.nn.Module):
    def forward(self, x):
        return x * 2

def get_inputs():
    return [torch.rand(4)]

def get_init_inputs():
    return []
"""


@pytest.fixture(scope="module")
def reference():
    return load_reference(SCALE, SMALL)


@pytest.fixture(scope="module")
def model(reference):
    return make_model(reference, SCALE)


@pytest.fixture(scope="module")
def inputs(reference):
    return make_inputs(reference, SCALE)


def test_derived_constants_follow_an_override(reference):
    assert (reference.rows, reference.elements) == (4, 2048)


def test_an_unknown_constant_is_a_bad_problem():
    with pytest.raises(ProblemError, match="banana"):
        load_reference(SCALE, Workload(name="w", constants={"banana": 1}))


@pytest.mark.parametrize("name", ["Model", "get_inputs", "get_init_inputs"])
def test_a_reference_without_a_required_name_is_a_bad_problem(name):
    broken = SCALE.model_copy(update={"reference": SCALE.reference + f"\ndel {name}\n"})
    with pytest.raises(ProblemError, match=name):
        load_reference(broken, SMALL)


def test_model_and_inputs_have_the_problems_dtype(model, inputs):
    assert {value.dtype for value in (*inputs, *model.parameters())} == {torch.bfloat16}


def test_the_same_seed_gives_the_same_weights_and_inputs(reference, model):
    assert torch.equal(make_model(reference, SCALE).scale.weight, model.scale.weight)
    assert torch.equal(make_inputs(reference, SCALE, seed=3)[0], make_inputs(reference, SCALE, seed=3)[0])
    assert not torch.equal(make_inputs(reference, SCALE, seed=3)[0], make_inputs(reference, SCALE, seed=4)[0])


def test_what_torch_compiles_of_one_module_is_not_taken_for_another():
    """`torch.compile` keeps what it compiled with the code object, and names globals of the module in it."""
    problem = SCALE.model_copy(update={"reference": TWICE})
    one, other = (torch.compile(make_model(load_reference(problem, BARE), problem), backend="eager") for _ in range(2))
    x = torch.ones(4)
    assert torch.equal(one(x), other(x))


def test_parameters_are_bound_by_name(reference, model, inputs):
    arguments = bind_arguments(lambda x, scale_weight, weight, factor, columns: None, inputs, model, reference)
    assert arguments.positional == inputs
    assert arguments.named["weight"] is arguments.named["scale_weight"] is model.scale.weight
    assert (arguments.named["factor"], arguments.named["columns"]) == (2.0, 512)


def test_a_default_is_kept_where_nothing_has_the_name(reference, model, inputs):
    assert bind_arguments(lambda x, banana=3, factor=1.0: None, inputs, model, reference).named == {"factor": 2.0}


@pytest.mark.parametrize("function", [lambda: None, lambda x, banana: None, lambda *, factor: None, max])
def test_what_cannot_be_called_is_rejected(reference, model, inputs, function):
    with pytest.raises(Rejected) as rejected:
        bind_arguments(function, inputs, model, reference)
    assert rejected.value.phase == Phase.ENTRY


def test_a_variable_number_of_arguments_takes_the_inputs(reference, model, inputs):
    assert bind_arguments(lambda *inputs: None, inputs, model, reference).positional == inputs


def bound(function, forward, inputs=(), constants="", init=""):
    """The named arguments of a call, for a model whose `forward` is this text."""
    source = (
        f"import torch\nfrom torch import nn\n{constants}\nclass Model(nn.Module):\n    def __init__(self):\n"
        f"        super().__init__()\n        {init or 'pass'}\n    {forward}\n"
        "def get_inputs():\n    return [dim, width]\ndef get_init_inputs():\n    return []\ndim, width = 1, 2\n"
    )
    problem = SCALE.model_copy(update={"reference": source})
    reference = load_reference(problem, Workload(name="w"))
    return bind_arguments(function, inputs, make_model(reference, problem), reference)


FORWARD = "def forward(self, x, scale=2.0, bias=None, *, eps=1e-5): return x.dim() * width"


def test_a_constant_replaces_no_default_unless_the_model_reads_it():
    assert bound(lambda x, dim=None, width=7: None, FORWARD, (0,)).named == {"width": 2}
    assert bound(lambda x, dim: None, FORWARD, (0,)).named == {"dim": 1}


def test_parameters_of_forward_without_an_input_have_its_defaults():
    assert bound(lambda x, scale, bias, *, eps=0.0: None, FORWARD, (0,)).named == {
        "scale": 2.0, "bias": None, "eps": 1e-5,
    }  # fmt: skip
    assert bound(lambda x: None, FORWARD, (0,)).named == {}
    assert bound(lambda x, bias=4: None, FORWARD, (0,)).named == {}


def test_a_value_of_the_model_stands_for_a_default_of_none():
    assert bound(lambda x, bias: None, FORWARD, (0,), init="self.bias = 3.0").named == {"bias": 3.0}


def test_inputs_are_passed_by_name_to_parameters_that_are_keyword_only():
    arguments = bound(lambda x, *, scale, eps: None, FORWARD, (0, 5.0))
    assert (arguments.positional, arguments.named) == ((0,), {"scale": 5.0, "eps": 1e-5})


def test_a_parameter_that_a_layer_lacks_is_none_and_tuples_are_passed():
    layer = "self.conv = nn.Conv2d(1, 1, 3, stride=2, bias=False)"
    named = bound(lambda x, bias, stride, conv_padding, size: None, FORWARD, (0,), "size = (3, 5)\n", layer).named
    assert named == {"bias": None, "stride": (2, 2), "conv_padding": (0, 0), "size": (3, 5)}


def test_an_import_that_raises_is_told_with_its_line(tmp_path):
    with pytest.raises(Rejected) as rejected:
        load_candidate(Kernel(source="x = 1\ny = [][x]\ndef kernel_function(): pass\n"), tmp_path)
    assert rejected.value.phase == Phase.IMPORT
    assert rejected.value.reason == "IndexError: list index out of range\n  at candidate.py:2 in <module>: y = [][x]"


def test_a_long_reason_keeps_head_and_tail():
    text = bounded("first " + "x" * 10_000 + " last")
    assert len(text) <= REASON_CHARS
    assert text.startswith("first")
    assert text.endswith("last")


def test_names_that_are_drawn_anew_are_left_out_of_a_reason(tmp_path):
    text = f"ptxas {tmp_path}/tmpab12_xyz.ptx failed at 0x7f0012ab34cd, see /usr/lib/python3/site-packages/triton/x.py"
    assert neutral(text, tmp_path) == "ptxas tmp?.ptx failed at 0x?, see triton/x.py"
