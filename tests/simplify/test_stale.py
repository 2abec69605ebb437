"""Comments and docstrings go whose code is not the code that they were written for."""

from kopt.simplify.stale import without_stale_words

SEED = '''"""One program a row, four rows at a time."""

import triton


@triton.jit
def kernel(x, n):
    """Read x once."""
    # four rows
    row = 4 * n
    return row  # the row


def kernel_function(x):
    """Launch it."""
    return x  # noqa: X1
'''


def test_words_for_code_that_is_still_there_stay():
    assert without_stale_words(SEED, [SEED]) == (SEED, 0)


def test_words_for_other_code_go():
    later = SEED.replace("row = 4 * n", "row = n")
    text, count = without_stale_words(later, [SEED, later])
    assert count == 3
    for gone in ("One program", "Read x once", "# four rows"):
        assert gone not in text
    for kept in ("# the row", "Launch it", "# noqa: X1", "row = n"):
        assert kept in text


def test_words_that_a_later_step_wrote_are_held_to_its_code():
    step = SEED.replace("row = 4 * n", "row = n").replace("# four rows", "# one row")
    assert "# one row" in without_stale_words(step, [SEED, step])[0]
    undone = step.replace("row = n", "row = 4 * n")
    assert "# one row" not in without_stale_words(undone, [SEED, step])[0]


def test_a_docstring_that_is_all_of_a_function_stays():
    alone = 'def kernel_function(x):\n    """Nothing."""\n'
    assert without_stale_words(alone, [alone.replace("(x)", "(y)")]) == (alone, 0)


def test_no_python_is_left_alone():
    assert without_stale_words("def (", [SEED]) == ("def (", 0)
