"""The walk's integer arithmetic is PTX's, by Python's integers of any size."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kopt.estimate.arithmetic import arithmetic, comparison, moved, packed, unpacked


def read(value: int, kind: str, bits: int) -> int:
    """The number that the low bits are."""
    value &= (1 << bits) - 1
    return value - (1 << bits) if kind == "s" and value >> (bits - 1) else value


def quotient(a: int, b: int) -> int:
    return abs(a) // abs(b) * (1 if (a < 0) == (b < 0) else -1)


def shifted(kind: str, bits: int, a: int, by: int) -> int:
    return a >> min(by, bits - (kind == "s"))


EXPECTED = {
    "add": lambda k, n, a, b: a + b, "sub": lambda k, n, a, b: a - b, "mul.lo": lambda k, n, a, b: a * b,
    "mul.hi": lambda k, n, a, b: (a * b) >> n, "and": lambda k, n, a, b: a & b, "or": lambda k, n, a, b: a | b,
    "xor": lambda k, n, a, b: a ^ b, "min": lambda k, n, a, b: min(a, b), "max": lambda k, n, a, b: max(a, b),
    "div": lambda k, n, a, b: quotient(a, b or 1), "rem": lambda k, n, a, b: a - quotient(a, b or 1) * (b or 1),
}  # fmt: skip

NUMBERS = st.one_of(
    st.integers(-(1 << 63), (1 << 63) - 1), st.integers(-70000, 70000),
    st.sampled_from([0, 1, -1, 32767, 32768, 65535, 65536, 2**31 - 1, 2**31, 2**32 - 1, 2**32, -(2**31), -(2**63)]),
)  # fmt: skip
TYPES = st.tuples(st.sampled_from("su"), st.sampled_from([16, 32, 64]))


def lanes(value: int) -> np.ndarray:
    return np.full(2, value, dtype=np.int64)


def computed(opcode: str, *values: int) -> int:
    result = arithmetic(opcode, opcode.split(".")[0], [lanes(value) for value in values])
    assert result is not None
    return int(result[0])


@given(st.sampled_from(sorted(EXPECTED)), TYPES, NUMBERS, NUMBERS)
def test_two_operands(name, of, a, b):
    kind, bits = of
    a, b = read(a, "s", bits), read(b, "s", bits)  # as registers keep them
    if name in ("div", "rem") and b == 0:
        b = 7
    expected = EXPECTED[name](kind, bits, read(a, kind, bits), read(b, kind, bits))
    assert computed(f"{name}.{kind}{bits}", a, b) == read(expected, "s", bits)


@given(TYPES, NUMBERS, st.integers(0, 70))
def test_shifts_by_more_than_the_width_give_zeros_or_signs(of, a, by):
    kind, bits = of
    a = read(a, "s", bits)
    assert computed(f"shr.{kind}{bits}", a, by) == read(shifted(kind, bits, read(a, kind, bits), by), "s", bits)
    assert computed(f"shl.b{bits}", a, by) == read(a << by, "s", bits)


@given(st.sampled_from("su"), st.sampled_from([16, 32]), NUMBERS, NUMBERS, NUMBERS)
def test_a_wide_product_has_twice_the_bits(kind, bits, a, b, c):
    product = read(a, kind, bits) * read(b, kind, bits)
    assert computed(f"mul.wide.{kind}{bits}", a, b) == read(product, "s", 2 * bits)
    assert computed(f"mad.wide.{kind}{bits}", a, b, c) == read(product + c, "s", 2 * bits)


@given(st.sampled_from("su"), st.sampled_from([8, 16, 32, 64]), st.sampled_from("su"), st.sampled_from([8, 16, 32, 64]),
       NUMBERS)  # fmt: skip
def test_a_conversion_reads_and_writes_by_type(to, to_bits, of, of_bits, a):
    expected = read(read(a, of, of_bits), "s", to_bits)
    assert computed(f"cvt.{to}{to_bits}.{of}{of_bits}", a) == expected


@given(st.sampled_from("su"), st.sampled_from([32, 64]), NUMBERS, st.integers(0, 255), st.integers(0, 255))
def test_a_field_of_bits(kind, bits, a, start, length):
    a = read(a, "s", bits)
    every = read(a, kind, bits)
    if length == 0:
        expected = 0
    elif kind == "u":
        expected = (every >> start) & ((1 << length) - 1)
    else:
        kept = max(min(length, bits - start), 1)
        expected = read(every >> min(start, bits - 1), "s", kept)
    assert computed(f"bfe.{kind}{bits}", a, start, length) == read(expected, "s", bits)


@given(st.sampled_from(["lt", "le", "gt", "ge", "eq", "ne", "lo", "ls", "hi", "hs"]), TYPES, NUMBERS, NUMBERS)
def test_comparisons(name, of, a, b):
    kind, bits = of
    kind = "u" if name in ("lo", "ls", "hi", "hs") else kind
    found = comparison(f"setp.{name}.{kind}{bits}", lanes(read(a, "s", bits)), lanes(read(b, "s", bits)))
    assert found is not None
    sign = {"lo": "lt", "ls": "le", "hi": "gt", "hs": "ge"}.get(name, name)
    a, b = read(a, kind, bits), read(b, kind, bits)
    assert bool(found[0][0]) == getattr(a, f"__{sign}__")(b)


@given(NUMBERS)
def test_parts_of_a_register_join_to_it(a):
    for opcode, bits, count in (("mov.b32", 32, 2), ("mov.b64", 64, 2), ("mov.b64", 64, 4)):
        parts = unpacked(opcode, lanes(read(a, "s", bits)), count)
        assert [int(part[0]) for part in parts] == [
            read(a >> (bits // count * at), "s", bits // count) for at in range(count)
        ]
        assert packed(opcode, parts)[0] == read(a, "s", bits)


@given(NUMBERS, NUMBERS, st.integers(0, 0xFFFF))
def test_a_permutation_of_bytes(a, b, select):
    a, b = read(a, "s", 32), read(b, "s", 32)
    every = (a & 0xFFFFFFFF) | (b & 0xFFFFFFFF) << 32
    expected = 0
    for at in range(4):
        nibble = select >> (4 * at) & 15
        byte = every >> (8 * (nibble & 7)) & 0xFF
        expected |= (0xFF * (byte >> 7) if nibble & 8 else byte) << (8 * at)
    assert computed("prmt.b32", a, b, select) == read(expected, "s", 32)


def test_pairs_of_numbers_in_one_register():
    both = arithmetic("add.s16x2", "add", [lanes(0x0001FFFF), lanes(0x00020001)])
    assert both is not None
    assert both[0] == 0x00030000


@pytest.mark.parametrize(
    "opcode", ["add.sat.s32", "add.cc.u32", "cvt.rni.s32.f32", "mul24.lo.s32", "lop3.b32", "prmt.b32.f4e"]
)
def test_what_is_not_computed_here_is_not_known(opcode):
    assert arithmetic(opcode, opcode.split(".")[0], [lanes(3)] * (1 if opcode.startswith("cvt") else 2)) is None


def test_a_byte_is_loaded_without_a_sign_unless_its_type_has_one():
    assert moved("ld.param.b8", lanes(-1))[0] == 255
    assert moved("ld.param.s8", lanes(255))[0] == -1
