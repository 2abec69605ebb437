"""A candidate shares the verdict of another only where everything that decided the verdict is equal."""

import pytest

from kopt.jobs.source_form import source_form
from kopt.model.trial import BuildRow
from kopt.stages.compile import mark_duplicates

SOURCE = """
import torch
import triton
import triton.language as tl


@triton.jit
def double(x_ptr, y_ptr, n, BLOCK: tl.constexpr):
    at = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    x = tl.load(x_ptr + at, mask=at < n)
    tl.store(y_ptr + at, x + x, mask=at < n)


def kernel_function(x):
    y = torch.empty_like(x)
    even = x.numel() % 2 == 0
    double[(triton.cdiv(x.numel(), 64),)](x, y, x.numel(), BLOCK=64)
    return y
"""


def form(source: str) -> str:
    return source_form(source, "kernel_function")


def row(slot: int, source: str, fingerprint: str = "f", attempt: int = 0) -> BuildRow:
    place = {"round": 1, "attempt": attempt, "slot": slot, "kernel": f"{slot}-{attempt}"}
    return BuildRow(**place, status="built", fingerprint=fingerprint, form=form(source))


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("even", "is_even"),
        ("double", "twice"),
        ("x_ptr", "source"),
        ("    y = torch", "    # the output\n    y = torch"),
        ("(x):\n", '(x):\n    """Double x and y."""\n'),
        ("x.numel() % 2", "(x.numel() % 2)"),
    ],
)
def test_names_comments_and_layout_do_not_change_a_form(old, new):
    changed = SOURCE.replace(old, new)
    assert changed != SOURCE
    assert form(changed) == form(SOURCE)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("% 2 == 0", "% 4 == 0"),
        ("mask=at < n", "mask=at <= n"),
        ("BLOCK=64)", "BLOCK=64, num_warps=8)"),
        ("kernel_function(x)", "kernel_function(weight)"),
        ("empty_like", "zeros_like"),
        ("x_ptr + at, mask", "y_ptr + at, mask"),
    ],
)
def test_whatever_may_change_what_a_kernel_does_changes_its_form(old, new):
    changed = SOURCE.replace(old, new)
    assert changed != SOURCE
    assert form(changed) != form(SOURCE)


def test_names_that_are_passed_as_arguments_by_name_are_no_mere_names():
    one = "def f(axis):\n    return g(axis=axis)\n"
    other = "def f(keep):\n    return g(keep=keep)\n"
    assert form(one) != form(other)


def test_a_source_that_cannot_be_parsed_has_no_form():
    assert form("def (") == ""


def test_a_repair_with_equal_launches_and_another_host_code_is_judged():
    """Both compile to the same on the main workload, whose size is even; only the repair is right on other sizes."""
    failed = row(0, SOURCE.replace("% 2 == 0", "% 1 == 0"))
    repair = row(0, SOURCE, attempt=1)
    (marked,) = mark_duplicates([repair], [failed], chunks=1)
    assert marked.duplicate_of == ""
    assert marked.chunk == 0


def test_a_candidate_that_differs_in_names_alone_shares_the_verdict():
    first, second = row(0, SOURCE), row(1, SOURCE.replace("even", "odd"))
    marked = mark_duplicates([first, second], [], chunks=1)
    assert [one.duplicate_of for one in marked] == ["", "r1a0s0"]


def test_an_equal_source_with_another_fingerprint_is_judged():
    """The fingerprint depends on the tools too, and on what a build alone sees."""
    marked = mark_duplicates([row(0, SOURCE), row(1, SOURCE, "g")], [], chunks=1)
    assert [one.duplicate_of for one in marked] == ["", ""]
