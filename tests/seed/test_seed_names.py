"""Functions of a seed have no names of the reference's, with which they stand in one exported file."""

import ast

import pytest

from kopt.seed.module_text import without_names_of

SEED = """import triton


@triton.jit
def sort_kernel(x):
    pass


def top_k(x, k):
    sort_kernel[(1,)](x)
    return x


def kernel_function(x, sort):
    return top_k(x, sort), sort
"""


@pytest.mark.parametrize(
    ("reference", "kernel", "function"),
    [
        ("top_k = 2\n", "sort_kernel", "top_k_of_seed"),
        ("def top_k(x):\n    pass\nclass sort_kernel:\n    pass\n", "sort_kernel_of_seed", "top_k_of_seed"),
        ("top_k: int = 2\ntop_k_of_seed = 3\n", "sort_kernel", "top_k__of_seed"),
        ("sort = 2\nkernel_function = top = 1\n", "sort_kernel", "top_k"),
    ],
)
def test_a_function_that_is_called_as_something_of_the_reference_is_renamed(
    reference: str, kernel: str, function: str
) -> None:
    made = without_names_of(reference, SEED)
    assert made == SEED.replace("sort_kernel", kernel).replace("top_k(", f"{function}(")
    ast.parse(made)
