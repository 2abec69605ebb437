"""Indexes of kernels for sizes that change lose what the compiler cannot see through, and nothing else."""

from __future__ import annotations

import ast

import pytest

from kopt.seed.indexes import use_parameters, without_modulo

ROWS = """
def kernel(p, count, length, columns):
    x0 = tl.program_id(0) * XBLOCK + tl.arange(0, XBLOCK)[:, None]
    for r0_offset in tl.range(0, columns, R0_BLOCK):
        r0_1 = r0_offset + tl.arange(0, R0_BLOCK)[None, :]
        tmp0 = {first} + x0 * ((2047 + count * length) // 2048)
        tmp1 = (count * length).to(tl.int32)
        tmp2 = tmp0 < tmp1
        tmp3 = tl.load(p + ({first} + x0 * ((2047 + count * length) // 2048)) % (count * length), {mask}, other=0.0)
"""


def function(text: str) -> ast.FunctionDef:
    (node,) = ast.parse(text).body
    assert isinstance(node, ast.FunctionDef)
    return node


def loads(node: ast.FunctionDef) -> str:
    return next(line for line in ast.unparse(node).splitlines() if "tl.load" in line).strip()


def test_a_remainder_that_a_mask_makes_needless_is_left_out_and_a_parameter_is_used() -> None:
    kernel = function(ROWS.format(first="r0_1", mask="r0_mask & tmp2 & xmask"))
    without_modulo(kernel)
    use_parameters(kernel, {"(2047 + count * length) // 2048": "columns"})
    assert loads(kernel) == "tmp3 = tl.load(p + (r0_1 + x0 * columns), r0_mask & tmp2 & xmask, other=0.0)"


@pytest.mark.parametrize(
    ("first", "mask"), [("r0_1", "r0_mask & xmask"), ("r0_1", "r0_mask | tmp2"), ("-1 + r0_1", "r0_mask & tmp2")]
)
def test_a_remainder_stays_where_no_mask_says_the_same_or_the_index_may_be_negative(first: str, mask: str) -> None:
    kernel = function(ROWS.format(first=first, mask=mask))
    before = loads(kernel)
    without_modulo(kernel)
    assert loads(kernel) == before
    assert "%" in before


def test_a_remainder_of_a_name_that_is_given_values_twice_stays() -> None:
    text = "y = 5\n    y = x0 - 7\n    inside = y < count\n    tmp0 = tl.load(p + y % count, inside)"
    kernel = function(f"def kernel(p, count, x0):\n    {text}")
    without_modulo(kernel)
    assert loads(kernel) == "tmp0 = tl.load(p + y % count, inside)"


def test_a_variable_of_the_host_that_is_no_parameter_is_not_used() -> None:
    kernel = function(ROWS.format(first="r0_1", mask="tmp2"))
    use_parameters(kernel, {"(2047 + count * length) // 2048": "rows"})
    assert "rows" not in ast.unparse(kernel)
