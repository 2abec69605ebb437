"""An exported kernel runs on arguments like those that it was verified with, and on no others."""

import pytest
import torch
from torch.fx.experimental.proxy_tensor import make_fx

from kopt.device.facts.facts import problem_facts
from kopt.errors import ProblemError
from kopt.model.problem import Argument, Given, Workload
from kopt.winner.accepted import contiguous, patterns
from kopt.winner.constants import Made, made_with
from kopt.winner.embedded.accepted import other_kind
from kopt.winner.limits import limits
from kopt.winner.provenance import comments
from kopt.winner.targets import module, torch_library
from tests.device.small import SCALE
from tests.winner.test_winner import executed, on_cpu, winner

HEAD = "import torch\nfrom torch import nn\n\nbatch = 2\nheads = 4\nlength = 48\nhidden = 64\n\n"
TAIL = "\n\ndef get_init_inputs():\n    return []\n"
MODELS = {
    "transposed": (
        "class Model(nn.Module):\n    def forward(self, q, positions):\n"
        "        return q * positions[:, None, :, None]\n\n"
        "def get_inputs():\n    return [torch.randn(batch, length, heads, 8).transpose(1, 2), "
        "torch.randint(0, 9, (batch, length))]\n"
    ),
    "related": (
        "class Model(nn.Module):\n    def forward(self, x, bias, residual):\n"
        "        return x + bias + residual, x * bias\n\n"
        "def get_inputs():\n"
        "    return [torch.randn(length, hidden), torch.randn(hidden), torch.randn(length, hidden)]\n"
    ),
    "value": (
        "class Model(nn.Module):\n    def forward(self, x, factor):\n        return x * factor\n\n"
        "def get_inputs():\n    return [torch.randn(length, hidden), 0.5]\n"
    ),
    "sliced": (
        "class Model(nn.Module):\n    def forward(self, x):\n        return x * 2\n\n"
        "def get_inputs():\n    return [torch.randn(48, 64)[:, 8:40]]\n"
    ),
    "mixed": (
        "class Model(nn.Module):\n"
        "    def __init__(self):\n        super().__init__()\n"
        "        self.scale = nn.Parameter(torch.ones(8, dtype=torch.float64))\n\n"
        "    def forward(self, x, codes, weight, bias):\n"
        "        return (x * weight + bias).half() * codes * self.scale.half()\n\n"
        "def get_inputs():\n"
        "    return [torch.randn(batch, length, 8, dtype=torch.float16), "
        "torch.ones(8, dtype=torch.int8), torch.randn(8), torch.randn(8, dtype=torch.bfloat16)]\n"
    ),
    "grouped": (
        "class Model(nn.Module):\n    def forward(self, x, scale, starts, flat):\n"
        "        spread = scale.repeat_interleave(3, 1)\n"
        "        return x * spread + starts[:-1, None] + flat.reshape(x.shape[0], -1)\n\n"
        "def get_inputs():\n    return [torch.randn(length, 3 * hidden), torch.randn(length, hidden), "
        "torch.randn(length + 1), torch.randn(3 * length * hidden)]\n"
    ),
    "nested": (
        "class Model(nn.Module):\n    def forward(self, pair):\n        return pair[0] + pair[1]\n\n"
        "def get_inputs():\n    return [[torch.randn(length, hidden), torch.randn(length, hidden)]]\n"
    ),
}
SIZES = (
    Workload(name="main"),
    Workload(name="other", constants={"batch": 3, "length": 17, "hidden": 33}),
    Workload(name="small", constants={"batch": 1, "length": 5, "hidden": 7}),
)
SOURCE = "def kernel_function(*inputs):\n    raise AssertionError('no kernel here')\n"


def made(name):
    problem = SCALE.model_copy(
        update={
            "name": name,
            "reference": HEAD + MODELS[name] + TAIL,
            "main": SIZES[:1],
            "small": SIZES[1:],
            "keep_dtypes": name == "mixed",
        }
    )
    return winner(SOURCE, SOURCE, problem)


def reason(name, folder, *inputs):
    exported = executed(on_cpu(module.write(made(name))), folder)
    weights = [torch.ones(8, dtype=torch.float64)] if name == "mixed" else []
    return exported.why_not(inputs, weights)


def q(batch, length, dtype=torch.bfloat16):
    return torch.randn(batch, length, 4, 8, dtype=dtype).transpose(1, 2)


def positions(batch, length):
    return torch.zeros(batch, length, dtype=torch.int64)


def mixed(x_dtype=torch.float16, codes=torch.int8, weight=torch.float32, bias=torch.bfloat16):
    return x(3, 17, 8, dtype=x_dtype), x(8, dtype=codes), x(8, dtype=weight), x(8, dtype=bias)


def x(*shape, dtype=torch.bfloat16):
    return torch.zeros(shape, dtype=dtype)


@pytest.mark.parametrize(
    ("name", "inputs", "words"),
    [
        ("transposed", (q(2, 48), positions(2, 48)), ""),
        ("transposed", (q(5, 100), positions(5, 100)), ""),
        ("transposed", (q(2, 48).contiguous(), positions(2, 48)), "does not lie in memory in the order (0, 2, 1, 3)"),
        ("transposed", (q(2, 48), positions(1, 48)), "dimension 0 of positions is 1, not 2"),
        ("transposed", (q(2, 48), positions(2, 48).int()), "positions is torch.int32, not torch.int64"),
        ("transposed", (q(2, 48, torch.float32), positions(2, 48)), "q is torch.float32"),
        ("transposed", (q(2, 48)[:, :3], positions(2, 48)), "dimension 1 of q is 3, not 4"),
        ("related", (x(48, 64), x(64), x(48, 64)), ""),
        ("related", (x(9, 11), x(11), x(9, 11)), ""),
        ("related", (x(48, 64), x(1), x(48, 64)), "dimension 0 of bias is 1, not 64"),
        ("related", (x(48, 64), x(64), x(1, 64)), "dimension 0 of residual is 1, not 48"),
        ("related", (x(64, 64)[::2], x(64), x(32, 64)), "x does not lie in memory"),
        ("related", (x(48, 64), x(64)), "there are 2 inputs"),
        ("value", (x(48, 64), 0.5), ""),
        ("value", (x(48, 64), 0.25), "factor is 0.25, not 0.5"),
        ("value", (x(48, 64)[None], 0.5), "x has 3 dimensions, not 2"),
        ("value", (0.5, 0.5), "x is no CUDA tensor"),
        ("mixed", mixed(), ""),
        ("mixed", mixed(x_dtype=torch.bfloat16), "x is torch.bfloat16, not torch.float16"),
        ("mixed", mixed(codes=torch.uint8), "codes is torch.uint8, not torch.int8"),
        ("mixed", mixed(weight=torch.float16), "weight is torch.float16, not torch.float32"),
        ("mixed", mixed(bias=torch.float32), "bias is torch.float32, not torch.bfloat16"),
        ("sliced", (x(48, 64)[:, 8:40],), ""),
        ("sliced", (x(48, 32),), "x has the strides (32, 1), not (64, 1)"),
    ],
)
def test_the_reason_is_told_and_empty_where_the_kernel_may_run(name, inputs, words, tmp_path):
    told = reason(name, tmp_path, *inputs)
    assert words in told
    assert bool(told) == bool(words)


def test_weights_count_too_and_sizes_that_were_powers_of_two_have_to_be_such(tmp_path):
    exported = executed(on_cpu(module.write(winner(problem=SCALE))), tmp_path)
    inputs, weight = [torch.zeros(8, 512, dtype=torch.bfloat16)], torch.zeros(1, 512)
    assert exported.why_not(inputs, [weight]) == "scale.weight is torch.float32, not torch.bfloat16"
    assert exported.why_not(inputs, [weight.bfloat16()]) == ""
    assert exported.why_not([torch.zeros(3, 512, dtype=torch.bfloat16)], [weight.bfloat16()]) == (
        "dimension 0 of x is 3, no power of two from 4 on"
    )
    assert exported.why_not([torch.zeros(2, 512, dtype=torch.bfloat16)], [weight.bfloat16()]) == (
        "dimension 0 of x is 2, no power of two from 4 on"
    )
    assert "a gradient of scale.weight" in exported.why_not(inputs, [weight.bfloat16().requires_grad_()])


def given_with(*shapes):
    """Return the arguments of workloads that have one input each, of these shapes."""
    arguments = (
        Argument(name="x", is_input=True, dtype="bfloat16", shape=shape, stride=contiguous(shape)) for shape in shapes
    )
    return [Given(workload=f"w{at}", arguments=(one,)) for at, one in enumerate(arguments)]


def with_patterns(given):
    """Return what is known of a model that is made without sizes."""
    return Made(tuple(given), patterns(given, "p"), {}, {}, ())


@pytest.mark.parametrize(
    ("columns", "accepted", "refused"),
    [
        ((8192, 5000, 8192, 4808), {8, 1000}, {1001: "no multiple of 8", 1004: "no multiple of 8"}),
        ((96, 160), {32, 64}, {8: "no multiple of 32", 48: "no multiple of 32"}),
        ((8192, 1001), {1, 7, 1002}, {}),
        ((1024, 64), {64, 4096}, {16: "no power of two from 64 on", 96: "no power of two from 64 on"}),
        ((4, 1), {1, 2}, {3: "no power of two"}),
        ((24, 8, 0), {0, 8}, {12: "no multiple of 8"}),
    ],
)
def test_a_size_is_of_the_kind_that_all_verified_ones_were(columns, accepted, refused):
    """A kernel that leaves out the rest of a row passes where no verified row has one."""
    (wanted,) = patterns(given_with(*((rows, size) for rows, size in enumerate(columns, 3))), "p")
    assert wanted.sizes[0] == "size0"
    assert {size for size in (*accepted, *refused) if not other_kind(wanted.sizes[1], size)} == accepted
    assert {size: other_kind(wanted.sizes[1], size) for size in refused} == refused


def test_the_head_says_of_which_number_a_size_is_a_multiple_and_from_which_power_of_two_on():
    told = [words for _, words in limits(with_patterns(given_with((5, 24, 64), (4, 40, 8))), guarded=True)]
    assert told[0] == "x bfloat16[size0, multiple1_of_8, power2_from_8]"
    assert "multiple1_of_8: multiples of 8, as all sizes were with which it was verified" in told
    assert "power2_from_8: powers of two from 8 on, as all sizes were with which it was verified" in told


def test_an_empty_tensor_runs_pytorch_unless_one_was_verified(tmp_path):
    told = reason("related", tmp_path, x(0, 64), x(64), x(0, 64))
    assert told == "dimension 0 of x is 0, with which nothing was verified"
    (wanted,) = patterns(given_with((0, 64), (3, 64)), "p")
    assert other_kind(wanted.sizes[0], 0) == ""


LIMITS = {
    "mixed": ("x float16[size0, size1, 8], codes int8[8], weight float32[8], bias bfloat16[8], scale float64[8]",
              "size0, size1: any size, the same", "that run the kernel: x 3, codes 1, weight 1, bias 1;"),
    "transposed": ("positions int64[size0, size1]", "q with its dimensions in the order (0, 2, 1, 3) in memory",
                   "all others contiguous", "that run the kernel: q 4, positions 2;"),
    "value": ("factor = 0.5", "that run the kernel: x 2;"),
    "sliced": ("x with the strides (64, 1)",),
}  # fmt: skip


@pytest.mark.parametrize("name", LIMITS)
def test_the_head_says_for_which_dtypes_dimensions_and_strides_the_kernel_runs(name):
    text = " ".join(line[12:].strip() for line in module.write(made(name)).splitlines() if line.startswith("# "))
    for words in (*LIMITS[name], "PyTorch runs in place of the kernel, with a warning that says why: other dtypes"):
        assert words in text


def test_the_script_and_a_solution_of_flashinfer_check_nothing():
    assert limits(with_patterns(made("value").given), guarded=False)[-1] == (
        "else", "nothing checks the arguments in this form: others may give wrong results"
    )  # fmt: skip


def test_strides_that_are_not_contiguous_stand_in_the_provenance():
    assert "q has the strides (1536, 8, 32, 1)" in comments(made("transposed"))


def test_an_input_inside_a_list_has_no_pattern():
    with pytest.raises(
        ProblemError, match="is inside a list or dictionary, which a script alone takes: use --as script"
    ):
        module.write(made("nested"))


def test_an_operator_returns_several_tensors(tmp_path):
    exported = executed(on_cpu(torch_library.write(made("related"))), tmp_path)
    exported.kernel_function = lambda x, bias, residual: (x + bias + residual, x)  # shares memory with an input
    given = x(9, 11), x(11), x(9, 11)
    result = torch.ops.kopt.related(*given)
    assert [tuple(one.shape) for one in result] == [(9, 11), (9, 11)]
    assert result[1].data_ptr() != given[0].data_ptr()
    compiled = torch.compile(exported.KernelModel(), backend="eager", fullgraph=True)
    with torch.no_grad():
        assert all(torch.equal(one, other) for one, other in zip(compiled(*given), result, strict=True))


def test_a_call_takes_the_way_through_the_dispatcher_only_where_it_is_needed(tmp_path):
    exported = executed(on_cpu(torch_library.write(made("related"))), tmp_path)
    ways, run = [], exported._run
    exported.kernel_function = lambda x, bias, residual: (x + bias, residual * 2)

    def noted(*given):
        ways.append("operator" if not torch.is_grad_enabled() else "at once")
        return run(*given)

    exported._run = noted
    given = x(9, 11), x(11), x(9, 11)
    assert [tuple(one.shape) for one in exported.call_kernel(*given)] == [(9, 11), (9, 11)]
    exported.call_kernel(torch.nn.Parameter(given[0], requires_grad=False), *given[1:])
    assert ways == ["at once", "at once"]
    torch.compile(exported.call_kernel, backend="eager")(*given)
    assert ways[2:] == ["operator"]


def doubled(x, bias, residual):
    """Read memory as a Triton kernel does: nothing that records operations sees it."""
    out = torch.empty_like(x)
    out.numpy()[:] = x.numpy() * 2
    return out, residual + bias


def made_by_tracing(function, given):
    return torch.jit.trace(function, given, check_trace=False)


def made_by_fx(function, given):
    return make_fx(function)(*given)


def mapped(function, given):
    over = torch.vmap(function)
    return lambda *others: tuple(one[0] for one in over(*(other[None] for other in others)))


@pytest.mark.parametrize("transform", [made_by_tracing, made_by_fx, mapped])
def test_what_records_or_transforms_calls_finds_the_operator(transform, tmp_path):
    exported = executed(on_cpu(torch_library.write(made("related"))), tmp_path)
    exported.kernel_function = doubled
    exported.ARGUMENTS = tuple((*one[:2], "float32", *one[3:]) for one in exported.ARGUMENTS)
    given, others = ([torch.randn(9, 11), torch.randn(11), torch.randn(9, 11)] for _ in range(2))
    with torch.no_grad():
        found = transform(exported.call_kernel, tuple(given))(*others)
    assert torch.equal(found[0], others[0] * 2)


def test_a_refusal_is_worked_out_once_for_each_kind_of_arguments(tmp_path):
    exported = executed(on_cpu(torch_library.write(made("related"))), tmp_path)
    asked, refusal = [], exported.refusal
    exported.refusal = lambda *given: asked.append(given) or refusal(*given)
    fitting, other = (x(9, 11), x(11), x(9, 11)), (x(9, 11), x(12), x(9, 11))
    for given in (fitting, other, fitting, other, [one.clone() for one in fitting]):
        assert bool(exported.why_not(given, ())) == (given is other)
    assert len(asked) == 2
    exported.SHAPES = {((1, 2),)}
    assert exported.why_not(fitting, ()) == "the shapes are not among SHAPES"


def test_sizes_that_are_equal_by_chance_in_one_workload_may_differ():
    facts = problem_facts(made("related").problem)
    x_pattern, bias, residual = patterns(facts.given, "related")
    assert x_pattern.sizes == residual.sizes
    assert bias.sizes == x_pattern.sizes[1:]
    assert len(set(x_pattern.sizes)) == 2


@pytest.mark.parametrize("mode", ["eval", "train"])
def test_an_operator_keeps_the_mode_that_the_model_s_own_code_sets(mode, tmp_path):
    reference = HEAD + MODELS["value"].replace(
        "    def forward(self, x, factor):\n        return x * factor",
        f"    def __init__(self):\n        super().__init__()\n        self.{mode}()\n\n"
        "    def forward(self, x):\n        return x[:, :8] * 2 if self.training else x * 2",
    ).replace(", 0.5]", "]")  # fmt: skip
    problem = SCALE.model_copy(
        update={"name": f"in_{mode}", "reference": reference + TAIL, "main": SIZES[:1], "small": SIZES[1:2]}
    )
    exported = executed(on_cpu(torch_library.write(winner(SOURCE, SOURCE, problem))), tmp_path)
    width = 8 if mode == "train" else 64
    exported.kernel_function = lambda x: x[:, :width] * 2
    operator = getattr(torch.ops.kopt, problem.name)
    assert operator(x(48, 64)).shape == (48, width)
    assert operator(x(48, 64).to("meta")).shape == (48, width)


@pytest.mark.parametrize(
    ("sizes", "why"),
    [
        ((6, 42, 14, 7, 252), ""),
        ((6, 42, 1, 7, 252), r"dimension 1 of scale is 1, not 14 (size1/3)"),
        ((6, 42, 28, 7, 252), r"dimension 1 of scale is 28, not 14 (size1/3)"),
        ((6, 43, 14, 7, 258), r"dimension 1 of scale is 14, not whole (size1/3)"),
        ((6, 42, 14, 6, 252), r"dimension 0 of starts is 6, not 7 (size0+1)"),
        ((6, 42, 14, 7, 504), r"dimension 0 of flat is 504, not 252 (size0*size1)"),
    ],
)
def test_sizes_that_followed_from_each_other_have_to(sizes, why, tmp_path):
    """A kernel indexes by the relation: other sizes, which PyTorch may broadcast, would give wrong results."""
    rows, columns, groups, starts, flat = sizes
    inputs = torch.ones(rows, columns), torch.ones(rows, groups), torch.ones(starts), torch.ones(flat)
    assert reason("grouped", tmp_path, *(one.bfloat16() for one in inputs)) == why


TAIL_OF_CLASSES = """
size = 64
rows = 8

class Scale(nn.Module):
    def __init__(self, size, factor=2.0):
        super().__init__()
        self.weight, self.factor = nn.Parameter(torch.ones(size)), factor

    def forward(self, x):
        return x * self.weight * self.factor

{model}

def get_inputs():
    return [torch.randn(rows, size)]

def get_init_inputs():
    return {given}
"""


@pytest.mark.parametrize(
    "model", ["Model = Scale", "class Model(Scale):\n    def forward(self, x):\n        return super().forward(x)"]
)
@pytest.mark.parametrize("given", ["[size]", '{"size": size}'])
def test_a_size_of_a_class_with_another_name_that_workloads_change_is_free(model, given):
    reference = "import torch\nfrom torch import nn\n" + TAIL_OF_CLASSES.format(model=model, given=given)
    other = Workload(name="other", constants={"size": 48, "rows": 5})
    problem = SCALE.model_copy(update={"reference": reference, "main": SIZES[:1], "small": (other,)})
    assert made_with(problem, problem_facts(problem).given).free == ("size",)
