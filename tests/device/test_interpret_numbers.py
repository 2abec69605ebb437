import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from kopt.device.interpret import operations
from kopt.device.interpret.device_library import function
from kopt.device.interpret.numbers import cut_to_tf32, decode, encode, missing, rounded, saturated, to_tf32

FLOATS = arrays.arrays(np.float32, st.integers(1, 20), elements=st.floats(width=32))
TORCH = {"bf16": torch.bfloat16, "f16": torch.float16, "f32": torch.float32}


@given(values=FLOATS)
@pytest.mark.parametrize("name", TORCH)
def test_rounding_is_to_nearest_even_as_in_torch(name: str, values: np.ndarray) -> None:
    with np.errstate(all="ignore"):
        mine = torch.from_numpy(rounded(values, name).astype(np.float32))
    assert torch.equal(mine.nan_to_num(1.5), torch.from_numpy(values).to(TORCH[name]).float().nan_to_num(1.5))


@given(bits=arrays.arrays(np.uint16, st.integers(1, 20)))
def test_bits_of_bfloat16_survive_a_round_trip(bits: np.ndarray) -> None:
    assert (encode(decode(bits, "bf16"), "bf16") == bits).all()


@given(values=arrays.arrays(np.float32, st.integers(1, 20), elements=st.floats(-60000, 60000, width=32)))
@pytest.mark.parametrize("name", ["bf16", "f16", "f8E5M2"])
def test_truncation_never_grows(name: str, values: np.ndarray) -> None:
    assert (np.abs(rounded(values, name, truncate=True)) <= np.abs(values)).all()


def test_eight_bits_saturate() -> None:
    assert rounded(np.array([1e9, -1e9], np.float32), "f8E4M3FN").tolist() == [448.0, -448.0]


@given(values=arrays.arrays(np.float32, 8, elements=st.floats(-(2.0**100), 2.0**100, width=32)))
def test_tf32_keeps_ten_bits_of_mantissa(values: np.ndarray) -> None:
    near = to_tf32(values)
    assert not (near.view(np.uint32) & 0x1FFF).any()
    assert (np.abs(near - values) <= np.abs(values) * 2.0**-11 + 1e-37).all()


@given(values=arrays.arrays(np.float32, 8, elements=st.floats(-(2.0**100), 2.0**100, width=32)))
def test_tensor_cores_leave_out_the_bits_that_tf32_lacks(values: np.ndarray) -> None:
    cut = cut_to_tf32(values)
    assert not (cut.view(np.uint32) & 0x1FFF).any()
    assert (np.abs(cut) <= np.abs(values)).all()
    assert (np.abs(values) - np.abs(cut) <= np.abs(values) * 2.0**-10 + 1e-37).all()


def test_what_is_not_finite_stays_so_in_tf32() -> None:
    values = np.array([np.nan, np.inf, -np.inf], np.float32)
    assert np.array_equal(cut_to_tf32(values), values, equal_nan=True)


def test_conversions_to_integers_saturate() -> None:
    values = np.array([300.7, -300.7, np.nan, np.inf])
    assert saturated(values, "i8", True).tolist() == [127, -128, 0, 127]
    assert saturated(values, "i8", False).view(np.uint8).tolist() == [255, 0, 0, 255]


@pytest.mark.parametrize("name", ["bf16", "f16", "f32"])
def test_a_masked_off_load_is_nan(name: str) -> None:
    assert np.isnan(missing(name))


def test_a_masked_off_load_of_integers_is_zero() -> None:
    assert missing("i32") == 0


@pytest.mark.parametrize(
    "symbol", ["__nv_tanhf", "__nv_tanh", "__nv_fast_expf", "__nv_erff", "__nv_fmaf", "__nv_fdividef", "__nv_powif"]
)
def test_device_library_is_known_by_symbol(symbol: str) -> None:
    assert function(symbol) is not None


def test_unknown_symbol_is_none() -> None:
    assert function("__nv_unheard_off") is None


@pytest.mark.parametrize("dtype", [np.int8, np.int16, np.int32, np.int64])
def test_a_division_by_zero_gives_all_ones_and_the_dividend_as_remainder(dtype: type[np.signedinteger]) -> None:
    a, b = np.array([7, -1, 0, 100], dtype), np.array([0, 0, 0, 7], dtype)
    for divide in (operations.divide, operations.unsigned_divide):
        assert divide(a, b).tolist() == [-1, -1, -1, 14]
        assert divide(a, b).dtype == dtype
        assert divide(dtype(7), dtype(0)) == -1
    for remainder in (operations.remainder, operations.unsigned_remainder):
        assert remainder(a, b).tolist() == [7, -1, 0, 2]
        assert remainder(dtype(7), dtype(0)) == 7
