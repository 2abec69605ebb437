"""A GPU's approximate operations may push a number over the edge on which a decision turns; nothing else may."""

from collections.abc import Callable

import pytest
import torch
from torch import nn

from kopt.device.draws.distributions import Draw, make_case, plan
from kopt.device.expected.compare_result import compare_result
from kopt.device.expected.expected_output import expected_result
from kopt.device.expected.outputs import run_reference
from kopt.device.expected.products.float32 import cut_to_tf32, rounded_to_tf32
from kopt.model.problem import Dtype
from tests.device.small_cases import case_of

torch.set_num_threads(1)  # other tests fork this process

Off = Callable[[torch.Tensor], torch.Tensor]
"""Moves the right result of a division, root or exponential by as much as a GPU's may be off."""

UNITS = 2
"""Most units in the last place that a GPU's approximate operation is off by."""


def up(values: torch.Tensor) -> torch.Tensor:
    return values * (1 + UNITS * 2.0**-23)


def down(values: torch.Tensor) -> torch.Tensor:
    return values * (1 - UNITS * 2.0**-23)


def either(values: torch.Tensor) -> torch.Tensor:
    generator = torch.Generator().manual_seed(int(values.numel()))
    return values * (1 + UNITS * (torch.rand(values.shape, generator=generator) * 2 - 1) * 2.0**-23)


def largest(x: torch.Tensor) -> torch.Tensor:
    return x.abs().amax(-1, keepdim=True)


def fake_quantised(x: torch.Tensor, off: Off, rounded: Off = torch.round) -> torch.Tensor:
    scale = off(largest(x) / 127)
    return rounded(off(x / scale)) * scale


def left(x, off: Off, divisor=3.0, cut: Off = torch.floor) -> torch.Tensor:
    """Return what a division leaves, as a kernel computes it that divides first."""
    return x - cut(off(x / divisor)) * divisor


WHOLE = "torch.randint(-24, 25, (6, 64)).float()"
SIXTEENTHS = "torch.arange(1, 1025).float() * 3 / 16"
NEAR = "1 + torch.randint(0, 3, (64, 8)) * 2.0**-23"

DECIDED = {
    "round": ("(x / 6).round().int()", WHOLE, lambda x, off: off(x / 6).round().int(), lambda x: (x / 6).trunc().int()),
    "floor": ("(x / 3).floor().int()", WHOLE, lambda x, off: off(x / 3).floor().int(), lambda x: (x / 3).ceil().int()),
    "ceil": ("(x / 3).ceil().int()", WHOLE, lambda x, off: off(x / 3).ceil().int(), lambda x: (x / 3).floor().int()),
    "cast": ("(x / 3).int()", WHOLE, lambda x, off: off(x / 3).int(), lambda x: (x / 3).round().int()),
    "truth": ("x / 3 > 1", WHOLE, lambda x, off: off(x / 3) > 1, lambda x: x / 3 > 1.4),
    "other ways": (
        "x * 0.1 >= x.abs().amax(-1, keepdim=True) / 10",
        WHOLE,
        lambda x, off: x * 0.1 >= off(largest(x) / 10),
        lambda x: x * 0.1 > largest(x) / 12,
    ),
    "bucketize": (
        "torch.bucketize(x / 3, torch.arange(-8.0, 9.0))",
        WHOLE,
        lambda x, off: torch.bucketize(off(x / 3), torch.arange(-8.0, 9.0)),
        lambda x: torch.bucketize(x / 3, torch.arange(-8.0, 9.0) + 0.5),
    ),
    "largest": ("(x / 3).argmax(-1)", NEAR, lambda x, off: either(off(x / 3)).argmax(-1), None),
    "rounded once more": (
        "(x / (x.abs().amax(-1, keepdim=True) / 127)).round() * (x.abs().amax(-1, keepdim=True) / 127)",
        WHOLE,
        fake_quantised,
        lambda x: fake_quantised(x, lambda values: values, torch.trunc),
    ),
    "decimals": (
        "torch.round(x / 12, decimals=1)",
        WHOLE,
        lambda x, off: torch.round(off(x / 12), decimals=1),
        lambda x: torch.round(x / 12),
    ),
    "eight bits": (
        "(x / 3).to(torch.float8_e4m3fn).float()",
        SIXTEENTHS,
        lambda x, off: off(x / 3).to(torch.float8_e4m3fn).float(),
        lambda x: (x / 3).to(torch.float8_e5m2).float(),
    ),
    "remainder": ("x % 3", WHOLE, left, lambda x: torch.fmod(x, 3)),
    "remainder of a number": (
        "25.0 % (x.abs() + 1)",
        WHOLE,
        lambda x, off: left(25.0, off, x.abs() + 1),
        lambda x: 25.0 % (x.abs() + 2),
    ),
    "remainder as an integer": ("(x % 3).int()", WHOLE, lambda x, off: left(x, off).int(), lambda x: (x % 4).int()),
    "nothing left": ("x % 3 == 0", WHOLE, lambda x, off: left(x, off) == 0, lambda x: x % 4 == 0),
    "overwritten": ("x.clone().remainder_(3)", WHOLE, left, lambda x: torch.fmod(x, 3)),
    "fmod": ("torch.fmod(x, 3)", WHOLE, lambda x, off: left(x, off, cut=torch.trunc), lambda x: torch.remainder(x, 3)),
    "floor_divide": ("x // 3", WHOLE, lambda x, off: off(x / 3).floor(), lambda x: (x / 3).trunc()),
    "division that cuts off": (
        'torch.div(x, 3, rounding_mode="trunc")',
        WHOLE,
        lambda x, off: off(x / 3).trunc(),
        lambda x: x // 3,
    ),
    "frac": ("torch.frac(x / 3)", WHOLE, lambda x, off: off(x / 3).frac(), lambda x: x / 3 % 1),
    "sign": (
        "torch.sign(x / 3 - 1)",
        WHOLE,
        lambda x, off: torch.sign(off(x / 3) - 1),
        lambda x: torch.sign(x / 3 - 1.4),
    ),
    "sign of nothing but errors": (
        "torch.sign(x / 3 * 3 - x) + x",
        WHOLE,
        lambda x, off: torch.sign(off(x / 3) * 3 - x) + x,
        lambda x: x + 2,
    ),
    "copysign": (
        "torch.copysign(x, x / 3 - 1)",
        WHOLE,
        lambda x, off: torch.copysign(x, off(x / 3) - 1),
        lambda x: torch.copysign(x, x / 3 - 1.4),
    ),
    "hardshrink": (
        "nn.functional.hardshrink(x / 3, 1.0)",
        WHOLE,
        lambda x, off: nn.functional.hardshrink(off(x / 3), 1.0),
        lambda x: nn.functional.hardshrink(x / 3, 1.4),
    ),
    "threshold": (
        "nn.functional.threshold(x / 3, 1.0, 7.0)",
        WHOLE,
        lambda x, off: nn.functional.threshold(off(x / 3), 1.0, 7.0),
        lambda x: nn.functional.threshold(x / 3, 1.4, 7.0),
    ),
    "heaviside": (
        "torch.heaviside(x / 3 - 1, 0 * x + 0.5)",
        WHOLE,
        lambda x, off: torch.heaviside(off(x / 3) - 1, 0 * x + 0.5),
        lambda x: torch.heaviside(x / 3 - 1.4, 0 * x + 0.5),
    ),
    "truth of a difference": (
        "(x / 3 * 3 - x).bool() + x",
        WHOLE,
        lambda x, off: (off(x / 3) * 3 - x).bool() + x,
        lambda x: x + 2,
    ),
    "two truths": (
        "torch.logical_and((x / 3 - 1).relu(), x) + 1.0",
        WHOLE,
        lambda x, off: torch.logical_and((off(x / 3) - 1).relu(), x) + 1.0,
        lambda x: torch.logical_or((x / 3 - 1).relu(), x) + 1.0,
    ),
    "choice": (
        "torch.where(x / 3 > 1, x, -x)",
        WHOLE,
        lambda x, off: torch.where(off(x / 3) > 1, x, -x),
        lambda x: torch.where(x / 3 > 1.4, x, -x),
    ),
    "bfloat16": (
        "(x / 3).to(torch.bfloat16).float()",
        "3 + 3 * torch.arange(1, 257).float() / 256",
        lambda x, off: off(x / 3).to(torch.bfloat16).float(),
        lambda x: (x / 3).to(torch.float8_e4m3fn).float(),
    ),
}


@pytest.mark.parametrize("name", DECIDED)
def test_a_number_as_near_to_an_edge_as_a_gpus_errors_may_fall_on_either_side(name: str) -> None:
    body, inputs, kernel, wrong = DECIDED[name]
    problem, case = case_of(f"    def forward(self, x):\n        return {body}\n", inputs)
    expected, (x,) = expected_result(problem, case), case.inputs
    draw = Draw(problem.main[0], "given", 0)
    outputs = [kernel(x, off) for off in (up, down, either)]
    assert not all(map(torch.equal, outputs, outputs[1:]))
    for output in outputs:
        assert compare_result([output], expected, draw).right, compare_result([output], expected, draw).reason
    if wrong is not None:
        assert not compare_result([wrong(x)], expected, draw).right


EXACT = {
    "product": ("(x * 0.5).round().int()", lambda x: x * 0.5),
    "quotient by a power of two": ("(x / 4).round().int()", lambda x: x / 4),
    "sum of two": ("(x * 0.5 + x.flip(-1) - 1.0).round().int()", lambda x: x * 0.5 + x.flip(-1) - 1.0),
    "matrix product": ("(x @ x.T * 0.125).round().int()", lambda x: x @ x.T * 0.125),
    "sum": ("(x.sum(-1) * 0.5).round().int()", lambda x: x.sum(-1) * 0.5),
    "sum of rows": ("(x.sum(0, dtype=torch.float32) / 2).round().int()", lambda x: x.sum(0) / 2),
    "running sum": ("(x.cumsum(-1) * 0.5).round().int()", lambda x: x.cumsum(-1) * 0.5),
    "mean": ("x.float().mean(-1).mul(4).round().int()", lambda x: x.mean(-1) * 4),
}


@pytest.mark.parametrize("name", EXACT)
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_ties_of_numbers_that_every_kernel_computes_exactly_are_asked(name: str, dtype: str) -> None:
    body, values = EXACT[name]
    source = "torch.randint(-3, 4, (16, 8)).float()" + ("" if dtype == "float32" else ".bfloat16()")
    problem, case = case_of(f"    def forward(self, x):\n        return {body}\n", source, Dtype(dtype))
    expected, draw = expected_result(problem, case), Draw(problem.main[0], "given", 0)
    exact = values(case.inputs[0].float())
    assert compare_result([exact.round().int()], expected, draw).right
    assert not compare_result([(exact + 0.5).floor().int()], expected, draw).right
    assert not compare_result([exact.sign().int() * (exact.abs() + 0.5).floor().int()], expected, draw).right


REMAINDERS = {
    "other sign": lambda x: -((-x) % 3),
    "of the size": lambda x: x.abs() % 3,
    "other divisor": lambda x: x % 3.1,
    "divisor too large by one": lambda x: x % 4,
    "one too large": lambda x: x % 3 + 1,
    "cut off": lambda x: torch.fmod(x, 3),
}


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
@pytest.mark.parametrize("inputs", ["torch.randint(-24, 25, (6, 64)).float()", "8 * torch.randn(6, 64)"])
def test_wrong_remainders_are_refused_on_whole_numbers_and_others(inputs: str, dtype: str) -> None:
    problem, case = case_of(
        "    def forward(self, x):\n        return x % 3\n", f"({inputs}).{dtype_of(dtype)}", Dtype(dtype)
    )
    for draw, drawn in ((Draw(problem.main[0], "given", 0), case), *draws_of(problem)):
        expected, x = expected_result(problem, drawn), drawn.inputs[0].float()
        for off in (up, down, either, torch.clone):
            assert compare_result([left(x, off).to(case.inputs[0].dtype)], expected, draw).right
        for name, wrong in REMAINDERS.items():
            refused = not compare_result([wrong(x).to(case.inputs[0].dtype)], expected, draw).right
            assert refused or draw.distribution != "given", name


@pytest.mark.parametrize("body", ["x % 2", "torch.fmod(x, 0.5)", "x // 4", "torch.frac(x)", "(x % 2).int()"])
def test_quotients_by_powers_of_two_are_cut_off_as_the_reference_does_it(body: str) -> None:
    problem, case = case_of(f"    def forward(self, x):\n        return {body}\n", "torch.arange(-40, 41).float() / 4")
    expected = expected_result(problem, case).tensors[0]
    assert float(expected.allowed.max()) < 1e-3


def test_numbers_that_tf32_may_push_over_an_edge_may_fall_on_either_side_and_others_not() -> None:
    body = "    def forward(self, x, w):\n        return (nn.functional.conv1d(x, w) * 10).round(){}\n"
    for then in ("", ".int()"):
        problem, _ = case_of(body.format(then), "torch.randn(8, 4, 40), torch.randn(6, 4, 3)")
        caught = 0
        for draw, case in draws_of(problem):
            expected = expected_result(problem, case)
            for made in (torch.clone, rounded_to_tf32, cut_to_tf32):
                y = nn.functional.conv1d(*map(made, case.inputs)) * 10
                comparison = compare_result([y.round().int() if then else y.round()], expected, draw)
                assert comparison.right, comparison.reason
            y = nn.functional.conv1d(*case.inputs) * 10
            caught += not compare_result([y.trunc().int() if then else y.trunc()], expected, draw).right
        assert caught >= 5


def test_one_element_that_may_fall_on_either_side_gives_no_other_element_room() -> None:
    inputs = "torch.where(torch.rand(64, 64) < 0.97, 3.0, 10.0)"
    problem, case = case_of("    def forward(self, x):\n        return torch.where(x / 3 > 1, x, -x)\n", inputs)
    (x,), expected, draw = case.inputs, expected_result(problem, case), Draw(problem.main[0], "given", 0)
    for off in (up, down, either):
        assert compare_result([torch.where(off(x / 3) > 1, x, -x)], expected, draw).right
    assert not compare_result([torch.where(x == 10, -5.0, -x)], expected, draw).right


@pytest.mark.parametrize(
    "body", ["torch.where(x == (x > 0), x, 1.0)", "x[:, :6].round() + (x[:, :0] @ x.T[:0])[:, :6]"]
)
def test_comparisons_with_truths_and_products_over_nothing_can_be_judged(body: str) -> None:
    problem, case = case_of(f"    def forward(self, x):\n        return {body}\n", "torch.randn(6, 6).round()")
    expected = expected_result(problem, case)
    assert compare_result(run_reference(problem, case).tensors, expected, Draw(problem.main[0], "given", 0)).right


GRADIENT = """    def forward(self, x, g):
        with torch.enable_grad():
            leaf = x.detach().requires_grad_()
            return torch.autograd.grad(nn.functional.{}(leaf / 3 - 1), leaf, g)[0]
"""


@pytest.mark.parametrize(
    ("function", "other"),
    [("relu", lambda x: 0 * x), ("leaky_relu", lambda x: 0.01 * x), ("hardtanh", lambda x: 0 * x)],
)
def test_a_gradient_may_be_that_of_either_side_of_an_edge(function: str, other: Off) -> None:
    problem, case = case_of(GRADIENT.format(function), f"{WHOLE}, torch.randn(6, 64)")
    expected, (x, g) = expected_result(problem, case), case.inputs
    draw, most = Draw(problem.main[0], "given", 0), 1.0 if function == "hardtanh" else torch.inf
    least = -1.0 if function == "hardtanh" else 0.0

    def gradient(y: torch.Tensor) -> torch.Tensor:
        return torch.where((y > least) & (y < most), g / 3, other(g / 3))

    for off in (up, down, either):
        comparison = compare_result([gradient(off(x / 3) - 1)], expected, draw)
        assert comparison.right, comparison.reason
    assert not compare_result([gradient(x / 3 - 1.4)], expected, draw).right


def draws_of(problem):
    """Return the draws of a verdict with their cases."""
    return [(draw, make_case(problem, draw)) for draw in plan(problem.small, 1)]


def dtype_of(name: str) -> str:
    return {"float32": "float()", "bfloat16": "bfloat16()", "float16": "half()"}[name]


SHIFTED = """    def forward(self, x):
        low, high = x.aminmax(dim=-1, keepdim=True)
        scale = (high - low) / 255
        zero = (-low / scale).round()
        return ((x / scale).round() + zero).clamp(0, 255).to(torch.uint8)
"""


def test_whole_numbers_that_are_added_up_stay_whole() -> None:
    problem, case = case_of(SHIFTED, "torch.randn(24, 256)")
    expected, (x,) = expected_result(problem, case), case.inputs
    draw = Draw(problem.main[0], "given", 0)
    low, high = x.aminmax(dim=-1, keepdim=True)
    for off in (up, down, either):
        scale = off((high - low) / 255)
        whole = off(x / scale).round() + off(-low / scale).round()
        comparison = compare_result([whole.clamp(0, 255).to(torch.uint8)], expected, draw)
        assert comparison.right, comparison.reason
    assert float((expected.tensors[0].allowed > 0).double().mean()) < 0.05


QUANTISED = """    def forward(self, x, w):
        h = x.float()
        h = h * torch.rsqrt(h.pow(2).mean(-1, keepdim=True) + 1e-6) * w.float()
        scale = h.abs().amax(-1, keepdim=True) / 127.0
        return torch.clamp(torch.round(h / scale), -128, 127).to(torch.int8), scale
"""


def quantised(x, w, off: Off, rounded: Off = torch.round, scaled: float = 1.0) -> list[torch.Tensor]:
    h = x.float()
    h = h * off(torch.rsqrt(off(h.square().mean(-1, keepdim=True)) + 1e-6)) * w.float()
    scale = off(h.abs().amax(-1, keepdim=True) * 0.007874015748031496) * scaled
    return [rounded(off(h / scale)).clamp(-128, 127).to(torch.int8), scale]


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_normalised_row_is_quantised_right_with_approximate_operations_and_not_otherwise(dtype: str) -> None:
    problem, _ = case_of(QUANTISED, "torch.randn(24, 256), torch.randn(256)", Dtype(dtype))
    caught: dict[str, int] = {"cut off": 0, "scale": 0}
    for draw in plan(problem.small, 1):
        case = make_case(problem, draw)
        expected = expected_result(problem, case)
        for off in (up, down, either):
            comparison = compare_result(quantised(*case.inputs, off), expected, draw)
            assert comparison.right, comparison.reason
        wrong = {
            "cut off": quantised(*case.inputs, lambda values: values, torch.trunc),
            "scale": quantised(*case.inputs, lambda values: values, scaled=1.001),
        }
        for name, result in wrong.items():
            result[1] = quantised(*case.inputs, lambda values: values)[1]
            caught[name] += not compare_result(result, expected, draw).right
    assert caught["cut off"] >= 5
    assert caught["scale"] >= 3
