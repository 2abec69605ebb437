import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from kopt.device.interpret.numbers import decode, encode, libdevice, masked_off

FLOATS = arrays.arrays(np.float32, st.integers(1, 20), elements=st.floats(width=32))
TORCH = {"bf16": torch.bfloat16, "fp16": torch.float16, "fp32": torch.float32}


@given(values=FLOATS)
@pytest.mark.parametrize("name", TORCH)
def test_rounding_is_to_nearest_even_as_in_torch(name: str, values: np.ndarray) -> None:
    with np.errstate(all="ignore"):
        mine = torch.from_numpy(decode(encode(values, name), name).astype(np.float32))
    assert torch.equal(mine.nan_to_num(1.5), torch.from_numpy(values).to(TORCH[name]).float().nan_to_num(1.5))


@given(bits=arrays.arrays(np.uint16, st.integers(1, 20)))
def test_bits_of_bfloat16_survive_a_round_trip(bits: np.ndarray) -> None:
    values = decode(bits, "bf16")
    numbers = ~np.isnan(values)
    assert (encode(values, "bf16")[numbers] == bits[numbers]).all()


@given(values=arrays.arrays(np.float32, st.integers(1, 20), elements=st.floats(-(2.0**100), 2.0**100, width=32)))
def test_truncation_never_grows(values: np.ndarray) -> None:
    assert (np.abs(decode(encode(values, "bf16", truncate=True), "bf16")) <= np.abs(values)).all()


def test_eight_bits_saturate() -> None:
    assert decode(encode(np.array([1e9, -1e9], np.float32), "fp8e4nv"), "fp8e4nv").tolist() == [448.0, -448.0]


@pytest.mark.parametrize(("name", "dtype"), [("bf16", np.uint16), ("fp16", np.float16), ("fp32", np.float32)])
def test_a_masked_off_load_is_nan(name: str, dtype: type) -> None:
    assert np.isnan(decode(masked_off((4,), np.dtype(dtype), name), name)).all()


def test_a_masked_off_load_of_integers_is_zero() -> None:
    assert masked_off((3,), np.dtype(np.int32), "int32").tolist() == [0, 0, 0]


@pytest.mark.parametrize(
    "symbol", ["__nv_tanhf", "__nv_tanh", "__nv_fast_expf", "__nv_erff", "__nv_fmaf", "__nv_fdividef"]
)
def test_device_library_is_known_by_symbol(symbol: str) -> None:
    assert libdevice(symbol) is not None


def test_unknown_symbol_is_none() -> None:
    assert libdevice("__nv_j0f") is None
