"""A GPU's approximate operations may push a number over the edge on which a decision turns; nothing else may."""

from collections.abc import Callable

import pytest
import torch

from kopt.device.draws.distributions import Draw, make_case, plan
from kopt.device.expected.compare_result import compare_result
from kopt.device.expected.expected_output import expected_result
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
