"""Changes of a step are found in parts, and undone where a later text still holds them."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kopt.simplify.changes import step_of, undone

PARENT = """
def kernel(x_ptr, y_ptr, n, BLOCK: tl.constexpr):
    row = tl.program_id(0).to(tl.int64)
    x = tl.load(x_ptr + row * n, mask=row < n)
    tl.store(y_ptr, x)


def kernel_function(x):
    kernel[(4,)](x, y, n, BLOCK=64, num_warps=4)
    return y
"""
CHILD = """
def kernel(x_ptr, y_ptr, n, BLOCK: tl.constexpr, ROWS: tl.constexpr, INDEX: tl.constexpr):
    row = (tl.program_id(0) * ROWS).to(INDEX)
    x = tl.load(x_ptr + row * n, mask=row < n)
    tl.store(y_ptr, x)


def kernel_function(x):
    ROWS = 2
    INDEX = tl.int32
    kernel[(4,)](x, y, n, BLOCK=64, num_warps=8, ROWS=ROWS, INDEX=INDEX)
    return y
"""
LINES = st.lists(st.sampled_from(["a = 1", "b = f(a, c)", "for i in b:", "    d += i", "return d", ""]), max_size=12)


@given(LINES, LINES)
def test_undoing_all_of_a_step_gives_the_parent(before, after):
    parent, child = "\n".join(before), "\n".join(after)
    step = step_of(parent, child)
    assert undone(child, step, step.changes) == parent


@given(LINES, LINES)
def test_changes_lie_in_order_and_do_not_overlap(before, after):
    spans = [change.after for change in step_of("\n".join(before), "\n".join(after)).changes]
    assert all(one[1] <= other[0] for one, other in pairwise(spans))


@given(LINES, LINES)
def test_every_part_can_be_undone_in_the_child_itself(before, after):
    child = "\n".join(after)
    step = step_of("\n".join(before), child)
    assert all(undone(child, step, part) is not None for part in step.parts())


def test_a_step_is_undone_in_a_later_text_that_changed_other_lines():
    step = step_of(PARENT, CHILD)
    later = CHILD.replace("mask=row < n", "mask=row < n, other=0.0")
    assert undone(later, step, step.changes) == PARENT.replace("mask=row < n", "mask=row < n, other=0.0")


def test_a_step_cannot_be_undone_where_a_later_one_changed_its_words():
    step = step_of(PARENT, CHILD)
    assert undone(CHILD.replace("ROWS = 2", "ROWS = 4"), step, step.changes) is None


def test_a_parameter_and_its_uses_are_one_part():
    step = step_of(PARENT, CHILD)
    texts = [undone(CHILD, step, part) for part in step.parts()]
    without_index = (
        CHILD.replace(", INDEX: tl.constexpr", "").replace("INDEX = tl.int32\n    ", "")
        .replace("(INDEX)", "(tl.int64)").replace(", INDEX=INDEX", "")
    )  # fmt: skip
    assert without_index in texts
    assert CHILD.replace("num_warps=8", "num_warps=4") in texts


def test_the_configurations_of_an_autotuner_are_parts_of_their_own():
    config = '    triton.Config({"BLOCK": %d}),\n'
    child = f"import triton\n@triton.autotune([\n{config % 64}{config % 128}], key=['n'])\n{PARENT.strip()}"
    step = step_of(f"import triton\n{PARENT.strip()}", child)
    assert child.replace(config % 128, "") in [undone(child, step, part) for part in step.parts()]


def test_arguments_inside_new_brackets_stay_together():
    step = step_of("f(x)\n", "f(x, all((a, b)), c)\n")
    assert [step.excerpt(part) for part in step.parts()[1:] if len(part) == 1] == [", all((a, b))", ", c"]


@pytest.mark.parametrize("text", ["", "\n", "no line ends"])
def test_equal_texts_have_no_changes(text):
    assert step_of(text, text).parts() == []


def test_only_white_space_is_no_part():
    assert step_of("a = 1\n", "a  =  1\n").parts() == []
