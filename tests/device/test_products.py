from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch

from kopt.device.draws.distributions import make_case, plan
from kopt.device.expected.calibration import calibrate
from kopt.device.expected.compare_result import compare_result
from kopt.device.expected.expected_output import expected_result
from kopt.device.expected.products.float32 import (
    InFloat32,
    cut_to_tf32,
    fused_apart,
    in_float32,
    operation_name,
    permits_tf32,
    rounded_to_tf32,
    with_operands,
)
from kopt.device.expected.runs import in_dtype
from kopt.device.reference.dispatch import DispatchMode
from tests.device.small_cases import case_of

torch.set_num_threads(1)  # other tests fork this process

CUDA, CUDNN = torch.backends.cuda, torch.backends.cudnn


class Seen(DispatchMode):
    """Note with which settings products are computed, entered before everything that changes them."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.settings: set[str] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func.overloadpacket.__name__
        if name in ("mm", "convolution") and args[0].dtype == torch.float32:
            setting: Any = CUDNN.conv if name == "convolution" else CUDA.matmul  # type: ignore[attr-defined]
            self.settings.add(setting.fp32_precision)
        return func(*args, **(kwargs or {}))


@contextmanager
def kept() -> Iterator[None]:
    """Set torch back as it is by default."""
    try:
        yield
    finally:
        torch.set_float32_matmul_precision("highest")
        CUDNN.allow_tf32 = True


REFERENCES = {
    "convolution": "        return nn.functional.conv1d(x, w)",
    "product": "        torch.backends.cuda.matmul.allow_tf32 = True\n        return x[0] @ w[:, :, 0]",
}


@pytest.mark.parametrize("name", REFERENCES)
def test_float32_evidence_is_computed_without_tf32_and_what_the_reference_sets_stays(name: str) -> None:
    body = f"    def forward(self, x, w):\n{REFERENCES[name]}"
    _, case = case_of(body, "torch.randn(2, 8, 8), torch.randn(8, 8, 3)")
    with kept(), Seen() as seen:
        in_dtype(case, torch.float32)
        assert seen.settings
        assert "tf32" not in seen.settings
        assert permits_tf32("mm" if name == "product" else "convolution")


class OnGpu(DispatchMode):
    """Convolve in TF32 where torch is set to do so, as cuDNN does."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = operation_name(func)
        rounds = name == "convolution" and permits_tf32(name)
        return func(*(with_operands(name, args, rounded_to_tf32) if rounds else args), **(kwargs or {}))


def test_inputs_in_bfloat16_are_told_from_right_ones_where_torch_convolves_in_tf32() -> None:
    body = "    def forward(self, x, w):\n        return nn.functional.conv_transpose2d(x, w)"
    problem, _ = case_of(body, "torch.randn(2, 16, 8, 6), torch.randn(16, 8, 3, 3)")
    with OnGpu():
        assert calibrate(problem, problem.small).refusal == ""


@pytest.mark.parametrize("permitted", [True, False])
def test_a_tolerance_knows_whether_the_reference_permits_tf32(permitted: bool) -> None:
    sets = f"        torch.backends.cuda.matmul.allow_tf32 = {permitted}"
    body = f"    def forward(self, a, b):\n{sets}\n        return a @ b"
    problem, case = case_of(body, "torch.randn(64, 64), torch.randn(64, 40)")
    with kept():
        allowed = expected_result(problem, case).tensors[0].allowed
    assert (float(allowed.median()) > 1e-3) == permitted


class Multiplied(DispatchMode):
    """Change the operands of every product, whatever is permitted."""

    def __init__(self, made: Any) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._made = made

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return func(*with_operands(operation_name(func), args, self._made), **(kwargs or {}))


def in_bfloat16(values: torch.Tensor) -> torch.Tensor:
    return values.bfloat16().float()


LAYERS = {
    "LSTM": ("nn.LSTM(16, 16)", "self.m(x)[0]"),
    "GRU": ("nn.GRU(16, 16, num_layers=2)", "self.m(x)[0]"),
    "RNN": ("nn.RNN(16, 16, bidirectional=True)", "self.m(x)[1]"),
    "attention": ("nn.Identity()", "nn.functional.scaled_dot_product_attention(x, x.flip(1), x, is_causal=True)"),
    "attention layer": ("nn.MultiheadAttention(16, 2)", "self.m(x, x, x)[0]"),
    "encoder": ("nn.TransformerEncoderLayer(16, 2, 32, dropout=0.0)", "self.m(x)"),
}


@pytest.mark.parametrize("permitted", [True, False])
@pytest.mark.parametrize("name", LAYERS)
def test_products_inside_a_layer_may_be_in_tf32_where_torch_permits_it(name: str, permitted: bool) -> None:
    layer, result = LAYERS[name]
    sets = "cudnn" if name in ("LSTM", "GRU", "RNN") else "cuda.matmul"
    body = f"    def forward(self, x):\n        torch.backends.{sets}.allow_tf32 = {permitted}\n        return {result}"
    problem, _ = case_of(body, "torch.randn(12, 6, 16)", init=f"        self.m = {layer}")
    with kept():
        caught = {cut_to_tf32: 0, rounded_to_tf32: 0, in_bfloat16: 0}
        for draw in plan(problem.small, 1):
            case = make_case(problem, draw)
            expected = expected_result(problem, case)
            assert compare_result([in_dtype(case, torch.float32)[0].float()], expected, draw).right
            for made in caught:
                output = in_dtype(case, torch.float32, within=Multiplied(made))[0].float()
                caught[made] += not compare_result([output], expected, draw).right
        assert calibrate(problem, problem.small).refusal == ""
    assert caught[in_bfloat16] >= 9
    assert (caught[cut_to_tf32] == caught[rounded_to_tf32] == 0) == permitted


def test_torchs_settings_of_fused_operations_come_back() -> None:
    backends: Any = torch.backends
    torch.backends.cuda.enable_flash_sdp(False)
    try:
        with fused_apart():
            torch.lstm(
                torch.ones(1, 1, 2),
                (torch.ones(1, 1, 2),) * 2,
                [torch.ones(8, 2)] * 2,
                False,
                1,
                0,
                False,
                False,
                False,
            )
            assert not backends.mha.get_fastpath_enabled()
        assert backends.mha.get_fastpath_enabled()
        assert backends.cudnn.enabled
        assert backends.mkldnn.enabled
        assert not backends.cuda.flash_sdp_enabled()
        assert backends.cuda.mem_efficient_sdp_enabled()
        assert backends.cuda.math_sdp_enabled()
    finally:
        torch.backends.cuda.enable_flash_sdp(True)


def set_by_old_flags() -> None:
    CUDA.matmul.allow_tf32 = True
    CUDNN.allow_tf32 = False


def set_by_new_settings() -> None:
    CUDA.matmul.fp32_precision = "tf32"
    CUDNN.conv.fp32_precision = "ieee"  # type: ignore[attr-defined]


def state() -> list[str]:
    def read(what: Any) -> str:
        try:
            return str(what())
        except RuntimeError:
            return "torch refuses"

    return [
        read(get)
        for get in (
            lambda: CUDA.matmul.allow_tf32,
            lambda: CUDNN.allow_tf32,
            lambda: CUDA.matmul.fp32_precision,
            lambda: CUDNN.conv.fp32_precision,  # type: ignore[attr-defined]
            lambda: CUDNN.rnn.fp32_precision,  # type: ignore[attr-defined]
            torch.get_float32_matmul_precision,
        )
    ]


@pytest.mark.parametrize("change", [lambda: None, set_by_old_flags, set_by_new_settings])
def test_the_settings_of_tf32_come_back(change: Any) -> None:
    with kept():
        change()
        before = state()
        with in_float32():
            assert not permits_tf32("mm")
            assert not permits_tf32("convolution")
            assert not CUDA.matmul.allow_tf32
            assert not CUDNN.allow_tf32
        assert state() == before


def test_what_is_multiplied_in_float64_permits_no_tf32() -> None:
    with InFloat32() as products:
        torch.nn.functional.conv1d(torch.ones(1, 1, 4).double(), torch.ones(1, 1, 2).double())
        assert not products.permitted
        torch.nn.functional.conv1d(torch.ones(1, 1, 4), torch.ones(1, 1, 2))
    assert products.permitted
