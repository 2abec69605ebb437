from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kopt.estimate.instructions import access_bytes, instruction_mix, parse

FOLDER = Path(__file__).parent / "estimate_fixtures"


def read(name: str) -> str:
    return (FOLDER / f"{name}.ptx").read_text()


@pytest.mark.parametrize(
    ("opcode", "size"),
    [
        ("ld.global.b16", 2),
        ("ld.global.b32", 4),
        ("ld.global.v4.b32", 16),
        ("ld.global.L1::evict_first.L2::cache_hint.v2.b64", 16),
        ("st.global.v8.b32", 32),
    ],
)
def test_access_width_is_elements_times_their_size(opcode, size):
    assert access_bytes(opcode) == size


def test_parameters_are_read_with_their_types():
    kinds = [kind for _, kind in parse(read("matvec_plain")).parameters]
    assert kinds == ["u64", "u64", "u64", "u32", "u32", "u32", "u64", "u64"]


def test_a_cache_hint_is_no_label():
    program = parse("$L__BB0_1:\n ld.global.L1::evict_first.b32 { %r1 }, [ %rd1 + 0 ];\n bra $L__BB0_1;")
    assert program.labels == {"$L__BB0_1": 0}
    assert len(program.instructions) == 2


def test_a_guard_and_its_sense_are_read():
    (one,) = parse("@!%p1 st.global.b32 [ %rd1 + 0 ], { %r1 };").instructions
    assert (one.predicate, one.negated, one.opcode) == ("%p1", True, "st.global.b32")


def test_wide_and_narrow_loads_are_told_apart():
    assert instruction_mix(read("matvec_plain"))["load_global_wide"] == 2
    assert instruction_mix(read("matvec_narrow"))["load_global"] == 2


def test_a_reduction_in_the_loop_shows_in_the_loop_mix():
    assert instruction_mix(read("matvec_narrow"))["loop_shuffle"] > 0
    assert instruction_mix(read("matvec_plain"))["loop_shuffle"] == 0


def test_matrix_instructions_are_counted():
    assert instruction_mix(read("matmul_large"))["wgmma"] > 0


def test_kinds_add_up_to_the_total():
    mix = instruction_mix(read("matmul_large"))
    kinds = sum(n for k, n in mix.items() if not k.startswith("loop_") and k not in ("total", "guarded"))
    assert kinds == mix["total"]


@given(st.text(max_size=300))
def test_any_text_has_a_mix(text):
    assert instruction_mix(text)["total"] >= 0
