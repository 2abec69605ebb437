"""A conversion to a 16-bit type by its name is a part of the reference; how eager rounds after it is eager's own."""

from collections.abc import Callable
from itertools import product
from typing import NamedTuple

import pytest
import torch
from torch.nn import functional

from kopt.device.draws.distributions import Draw, make_case
from kopt.device.expected import evidence
from kopt.device.expected.calibration import calibrate
from kopt.device.expected.compare_result import compare_result
from kopt.device.expected.expected_output import expected_result
from kopt.device.expected.roundings.between import changes_between
from kopt.device.expected.runs import in_dtype
from kopt.model.problem import Dtype
from tests.device.small_cases import SMALL, case_of

torch.set_num_threads(1)  # other tests fork this process

B, H, F8 = torch.bfloat16, torch.float16, torch.float8_e4m3fn

WIDE = "torch.randn(33, 64), torch.randn(64, 64) / 8, torch.randn(64)"
DOUBLE = "torch.randn(33, 64).double(), torch.randn(64, 64).double() / 8, torch.randn(64).double()"
BFLOAT16 = "torch.randn(33, 64), (torch.randn(64, 64) / 8).bfloat16(), torch.randn(64).bfloat16()"
FLOAT16 = "torch.randn(33, 64), (torch.randn(64, 64) / 8).half(), torch.randn(64).half()"
NARROW = "torch.randn(33, 64).bfloat16(), (torch.randn(64, 64) / 8).bfloat16(), torch.randn(64).bfloat16()"
LINEAR = "        self.linear = nn.Linear(64, 64, dtype=torch.bfloat16)"

Kernel = Callable[..., torch.Tensor]

PRODUCTS: dict[str, Kernel] = {
    "as eager": lambda x, w, v: (x.to(B) @ w.to(B)).float(),
    "in another order": lambda x, w, v: (x.to(B).flip(-1) @ w.to(B).flip(0)).float(),
    "rounded operands": lambda x, w, v: x.to(B).float() @ w.to(B).float(),
    "nothing rounded": lambda x, w, v: x.float() @ w.float(),
}
WRONG: dict[str, Kernel] = {
    "operands in 8 bits": lambda x, w, v: x.to(F8).float() @ w.float(),
    "a part": lambda x, w, v: x[:, :60].float() @ w[:60].float(),
}


def normalised(product: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """Normalise rows of a product in float32, and add up."""
    return functional.layer_norm(product, (64,), weight).cumsum(-1)


class Named(NamedTuple):
    """A reference that names a 16-bit type, and kernels for it."""

    body: str
    inputs: str
    right: dict[str, Kernel]
    wrong: dict[str, Kernel]


NAMED = {
    "to": Named("return (x.to(torch.bfloat16) @ w).float()", BFLOAT16, PRODUCTS, WRONG),
    "to a 16-bit output": Named("return x.to(torch.bfloat16) @ w", BFLOAT16, PRODUCTS, WRONG),
    "to the inputs' type": Named("return (x.to(torch.bfloat16) @ w).float()", NARROW, PRODUCTS, WRONG),
    "type": Named("return (x.type(torch.bfloat16) @ w).float()", BFLOAT16, PRODUCTS, WRONG),
    "by an older name": Named(
        "return (x.type('torch.BFloat16Tensor') @ w.type(torch.BFloat16Tensor)).float()", WIDE, PRODUCTS, WRONG
    ),
    "by a method": Named("return (x.bfloat16() @ w).float()", BFLOAT16, PRODUCTS, WRONG),
    "both operands": Named("return (x.bfloat16() @ w.bfloat16()).float()", WIDE, PRODUCTS, WRONG),
    "both operands, 16-bit output": Named("return x.bfloat16() @ w.bfloat16()", WIDE, PRODUCTS, WRONG),
    "half": Named(
        "return (x.half() @ w).float()",
        FLOAT16,
        {"as eager": lambda x, w, v: (x.half() @ w).float(), "nothing rounded": PRODUCTS["nothing rounded"]},
        {"operands in bfloat16": PRODUCTS["as eager"]},
    ),
    "autocast": Named(
        "with torch.autocast(x.device.type, dtype=torch.bfloat16):\n            y = x @ w\n        return y.float()",
        WIDE,
        PRODUCTS,
        WRONG,
    ),
    "autocast, 16-bit output": Named(
        "run = torch.autocast(x.device.type, dtype=torch.bfloat16)(torch.matmul)\n        return run(x, w)",
        WIDE,
        PRODUCTS,
        WRONG,
    ),
    "autocast by the GPU's name": Named(
        "with torch.autocast('cuda', torch.bfloat16):\n            y = x @ w\n        return y", WIDE, PRODUCTS, WRONG
    ),
    "autocast in its own type": Named(
        "with torch.autocast('cuda'):\n            y = x @ w\n        return y.float()",
        WIDE,
        {"as eager": lambda x, w, v: (x.half() @ w.half()).float(), "nothing rounded": PRODUCTS["nothing rounded"]},
        {"operands in bfloat16": PRODUCTS["as eager"]},
    ),
    "autocast, softmax": Named(
        "with torch.autocast('cuda', torch.bfloat16):\n            return torch.softmax(x @ w, -1)",
        WIDE,
        {name: lambda *given, of=of: torch.softmax(of(*given), -1) for name, of in PRODUCTS.items()},
        {name: lambda *given, of=of: torch.softmax(of(*given), -1) for name, of in WRONG.items()},
    ),
    "autocast, layer norm and sum": Named(
        "with torch.autocast('cuda', torch.bfloat16):\n            return F.layer_norm(x @ w, (64,), v).cumsum(-1)",
        WIDE,
        {name: lambda *given, of=of: normalised(of(*given), given[2]) for name, of in PRODUCTS.items()},
        {name: lambda *given, of=of: normalised(of(*given), given[2]) for name, of in WRONG.items()},
    ),
    "autocast, two layers": Named(
        "with torch.autocast('cuda', torch.bfloat16):\n            return F.linear(F.gelu(x @ w), w, v)",
        WIDE,
        {
            "as eager": lambda x, w, v: functional.linear(functional.gelu(x.to(B) @ w.to(B)), w.to(B), v.to(B)),
            "one rounding": lambda x, w, v: (
                functional.gelu(x.to(B).float() @ w.to(B).float()).to(B).float() @ w.to(B).float().t() + v
            ),
            "nothing rounded": lambda x, w, v: functional.linear(functional.gelu(x @ w), w, v),
        },
        {
            "no bias": lambda x, w, v: functional.linear(functional.gelu(x @ w), w),
            "no function": lambda x, w, v: functional.linear(x @ w, w, v),
            "operands in 8 bits": lambda x, w, v: functional.linear(functional.gelu(x.to(F8).float() @ w), w, v),
        },
    ),
    "autocast of a part": Named(
        "with torch.autocast('cuda', torch.bfloat16):\n            y = x @ w\n        return y.float() @ w",
        WIDE,
        {
            "as eager": lambda x, w, v: (x.to(B) @ w.to(B)).float() @ w,
            "nothing rounded": lambda x, w, v: x @ w @ w,
        },
        {"operands in 8 bits": lambda x, w, v: x.to(F8).float() @ w @ w},
    ),
    "linear": Named(
        "return F.linear(x.to(torch.bfloat16), w.t(), v)",
        BFLOAT16,
        {"nothing rounded": lambda x, w, v: x @ w.float() + v.float()},
        {"no bias": lambda x, w, v: x @ w.float()},
    ),
    "memory": Named(
        "o = torch.empty(x.shape, dtype=torch.bfloat16, device=x.device)\n"
        "        o.copy_(x @ w)\n"
        "        return torch.addmm(o, x, w)",
        NARROW,
        {"nothing rounded": lambda x, w, v: 2 * (x.float() @ w.float())},
        {"once": PRODUCTS["nothing rounded"]},
    ),
    "sum": Named(
        "return x.sum(-1, dtype=torch.bfloat16).float()",
        WIDE,
        {"nothing rounded": lambda x, w, v: x.sum(-1), "as eager": lambda x, w, v: x.sum(-1).to(B).float()},
        {"a part": lambda x, w, v: x[:, :60].sum(-1)},
    ),
    "softmax": Named(
        "return torch.softmax(x.to(torch.bfloat16), -1).float()",
        WIDE,
        {
            "as eager": lambda x, w, v: torch.softmax(x.to(B), -1).float(),
            "nothing rounded": lambda x, w, v: torch.softmax(x, -1),
        },
        {"a part": lambda x, w, v: functional.pad(torch.softmax(x[:, :60], -1), (0, 4))},
    ),
    "eight bits": Named(
        "return (x * 4).to(torch.float8_e4m3fn).to(torch.bfloat16) @ w",
        BFLOAT16,
        {"as eager": lambda x, w, v: (x * 4).to(F8).float() @ w.float()},
        {"not quantised": lambda x, w, v: 4 * x @ w.float()},
    ),
    "integers": Named(
        "s = x.abs().amax(-1, keepdim=True) / 127\n"
        "        return (x / s).round().to(torch.int8).to(torch.bfloat16) @ w",
        BFLOAT16,
        {"as eager": lambda x, w, v: (x / (x.abs().amax(-1, keepdim=True) / 127)).round() @ w.float()},
        {"cut off": lambda x, w, v: (x / (x.abs().amax(-1, keepdim=True) / 127)).trunc() @ w.float()},
    ),
    "residual": Named(
        "return x - x.to(torch.bfloat16).float()",
        WIDE,
        {"as eager": lambda x, w, v: x - x.to(B).float()},
        {
            "zeros": lambda x, w, v: torch.zeros_like(x),
            "no last row": lambda x, w, v: (x - x.to(B).float()).index_fill(0, torch.tensor([32]), 0),
            "of float16": lambda x, w, v: x - x.to(H).float(),
        },
    ),
    "bits": Named(
        "return (x * 2).to(torch.bfloat16).view(torch.int16)",
        WIDE,
        {"as eager": lambda x, w, v: (x * 2).to(B).view(torch.int16)},
        {"of float16": lambda x, w, v: (x * 2).to(H).view(torch.int16)},
    ),
}


@pytest.mark.parametrize("name", NAMED)
def test_a_reference_that_names_a_16_bit_type_is_judged(name: str) -> None:
    named = NAMED[name]
    problem, given = case_of(
        f"    def forward(self, x, w, v):\n        F = nn.functional\n        {named.body}\n",
        named.inputs,
        Dtype.FLOAT32 if named.inputs != NARROW else Dtype.BFLOAT16,
        keep_dtypes=True,
    )
    assert calibrate(problem, problem.small).refusal == ""
    draw = Draw(SMALL, "normal", 1)
    for case in (given, make_case(problem, draw)):
        expected = expected_result(problem, case)
        dtype = expected.tensors[0].contract.dtype
        for kernel, of in named.right.items():
            assert compare_result([of(*case.inputs).to(dtype)], expected, draw, case).reason == "", kernel
        for kernel, of in named.wrong.items():
            assert not compare_result([of(*case.inputs).to(dtype)], expected, draw, case).right, kernel


ATTENTION = {
    "explicit": "return F.scaled_dot_product_attention(x.bfloat16(), w.bfloat16(), v.bfloat16()).float()",
    "autocast": "with torch.autocast(x.device.type, dtype=torch.bfloat16):\n"
    "            return F.scaled_dot_product_attention(x, w, v).float()",
}


def attend(
    *inputs: torch.Tensor, operands: torch.dtype = B, weights: torch.dtype = B, scale: float = 0.25, safe: bool = True
) -> torch.Tensor:
    """Attend as flash attention does: scores and sums in float32."""
    q, k, v = (one.to(operands).float() for one in inputs)
    scores = q @ k.mT * scale
    weight = torch.exp(scores - scores.amax(-1, keepdim=True) * safe)
    return weight.to(weights).float() @ v / weight.sum(-1, keepdim=True)


def attend_unfused(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
    """Attend with scores, weights and output in bfloat16."""
    return (torch.softmax(q.to(B) @ k.to(B).mT * 0.25, -1) @ v.to(B)).float()


@pytest.mark.parametrize("name", ATTENTION)
@pytest.mark.parametrize("kind", ["normal", "large"])
def test_attention_that_names_a_16_bit_type_may_round_otherwise(name: str, kind: str) -> None:
    body = f"    def forward(self, x, w, v):\n        F = nn.functional\n        {ATTENTION[name]}\n"
    problem, _ = case_of(body, ", ".join(["torch.randn(1, 4, 32, 16)"] * 3), keep_dtypes=True)
    draw = Draw(SMALL, kind, 1)
    case = make_case(problem, draw)
    expected = expected_result(problem, case)

    def reason(output: torch.Tensor) -> str:
        return compare_result([output], expected, draw, case).reason

    assert reason(attend(*case.inputs)) == ""
    assert reason(attend(*case.inputs, operands=torch.float32, weights=torch.float32)) == ""
    assert reason(attend_unfused(*case.inputs)) == ""
    assert reason(attend(*case.inputs, operands=F8)) != ""
    assert (reason(attend(*case.inputs, safe=False)) == "") == (kind == "normal")
    if kind == "normal":
        assert reason(attend(*case.inputs, weights=F8)) != ""
        assert reason(attend(*case.inputs, scale=0.26)) != ""


def test_only_products_inside_autocast_round_otherwise() -> None:
    region = "with torch.autocast(x.device.type, dtype=torch.bfloat16{}):\n            y = x @ w\n        return {}"
    bodies = {"y": True, "x @ w": False, "x * 3": False}
    for (result, rounds), enabled in product(bodies.items(), ("", ", enabled=False")):
        body = f"    def forward(self, x, w, v):\n        {region.format(enabled, result)}\n"
        _, case = case_of(body, WIDE, keep_dtypes=True)
        (change,) = changes_between(case, in_dtype(case, torch.float64), named=B) or ()
        assert bool(change.any()) == (rounds and not enabled), (result, enabled)


def test_autocast_converts_no_float64() -> None:
    region = "with torch.autocast('cuda', torch.bfloat16): return x @ w"
    body = f"    def forward(self, x, w, v):\n        {region}\n"
    problem, case = case_of(body, DOUBLE, Dtype.FLOAT64, keep_dtypes=True)
    expected, draw, (x, w, _) = expected_result(problem, case), Draw(SMALL, "given", 0), case.inputs
    assert compare_result([x @ w], expected, draw).right
    assert not compare_result([(x.to(B) @ w.to(B)).double()], expected, draw).right
    assert not compare_result([(x.float() @ w.float()).double()], expected, draw).right


def test_a_kernel_that_rounds_nothing_passes_at_every_size(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(evidence, "ROUNDED_ELEMENTS", 0)
    body = "    def forward(self, x, w, v):\n        return (x.bfloat16() @ w.bfloat16()).float()\n"
    problem, case = case_of(body, WIDE, keep_dtypes=True)
    expected, draw, (x, w, _) = expected_result(problem, case), Draw(SMALL, "given", 0), case.inputs
    assert compare_result([x @ w], expected, draw).right
    assert not compare_result([x.to(F8).float() @ w.to(F8).float()], expected, draw).right


@pytest.mark.parametrize(
    ("then", "asked"), [("", True), ("o.mul_(3)", False), ("o.copy_(o * 3)", False), ("o = o.flip(0)", True)]
)
def test_memory_into_which_a_rounded_result_is_copied_is_rounded(then: str, asked: bool) -> None:
    lines = ["o = torch.empty_like(x)", "o.copy_((x / 3).to(torch.bfloat16))", then, "return o"]
    body = "    def forward(self, x):\n" + "".join(f"        {line}\n" for line in lines if line)
    problem, case = case_of(body, "torch.randn(64, 64)", keep_dtypes=True)
    expected, (x,) = expected_result(problem, case), case.inputs
    factor = 1 if asked else 3
    rounded, exact = ((one.flip(0) if "flip" in then else one) * factor for one in ((x / 3).to(B).float(), x / 3))
    assert compare_result([rounded], expected, Draw(SMALL, "given", 0), case).right
    assert compare_result([exact], expected, Draw(SMALL, "given", 0), case).right != asked


def test_an_output_that_a_conversion_rounds_is_rounded_and_what_is_computed_from_it_need_not_be() -> None:
    inputs, draw = "torch.randn(64, 64)", Draw(SMALL, "given", 0)
    for then, may_keep in ((".float()", False), (".float().flip(0)", False), (".float() * 3", True)):
        body = f"    def forward(self, x):\n        return (x / 3).to(torch.bfloat16){then}\n"
        problem, case = case_of(body, inputs)
        expected, (x,) = expected_result(problem, case), case.inputs
        rounds = {".float()": lambda y: y, ".float().flip(0)": lambda y: y.flip(0), ".float() * 3": lambda y: y * 3}
        assert compare_result([rounds[then]((x / 3).to(B).float())], expected, draw).right
        assert compare_result([rounds[then](x / 3)], expected, draw).right == may_keep
        assert not compare_result([rounds[then]((x / 3).to(F8).float())], expected, draw).right


def test_a_module_whose_parameters_have_16_bits_takes_numbers_that_are_converted_by_name() -> None:
    body = "    def forward(self, x):\n        return self.linear(x.to(torch.bfloat16)).float()\n"
    problem, case = case_of(body, "torch.randn(33, 64)", init=LINEAR, keep_dtypes=True)
    weight, bias = case.model.linear.weight, case.model.linear.bias
    (exact,) = in_dtype(case, torch.float64)
    rounded = case.inputs[0].to(B).double()
    assert torch.allclose(exact, rounded @ weight.double().t() + bias.double(), rtol=1e-12, atol=1e-12)
    assert calibrate(problem, problem.small).refusal == ""


@pytest.mark.parametrize(
    "constants",
    ["torch.full((64,), 0.1, dtype=torch.bfloat16)", "x.new_full((64,), 0.1, dtype=torch.bfloat16)",
     "torch.full_like(x, 0.1, dtype=torch.bfloat16)", "torch.tensor(0.1, dtype=torch.bfloat16)"],
)  # fmt: skip
def test_constants_of_a_named_type_are_numbers_of_that_type(constants: str) -> None:
    body = f"    def forward(self, x):\n        return x + {constants}\n"
    _, case = case_of(body, "torch.zeros(3, 64)", keep_dtypes=True)
    (exact,) = in_dtype(case, torch.float64)
    assert set(exact.unique().tolist()) == {float(torch.tensor(0.1, dtype=B))}


def test_an_exact_output_beside_a_rounded_one_stays_asked() -> None:
    body = "    def forward(self, x, w, v):\n        return x.bfloat16() @ w.bfloat16(), x * 3 + v\n"
    problem, case = case_of(body, WIDE)
    expected, draw, (x, w, v) = expected_result(problem, case), Draw(SMALL, "given", 0), case.inputs
    product = x.bfloat16() @ w.bfloat16()
    assert compare_result([product, x * 3 + v], expected, draw).right
    assert not compare_result([product, (x.bfloat16() * 3).float() + v], expected, draw).right
