"""Sizes for each value of which a kernel is compiled anew are found in its launches."""

import pytest

from kopt.winner.recompiled import recompiled_sizes

KERNEL = """
@triton.jit
def kernel(x_ptr, rows, columns: tl.constexpr, EVEN: tl.constexpr = False, BLOCK: tl.constexpr = 64):
    pass


def kernel_function(x):
    out = torch.empty(x.shape)
    M, N = x.shape
    half = N // 2
    {launch}
    return out
"""


@pytest.mark.parametrize(
    ("launch", "found"),
    [
        ("kernel[(M,)](x, M, 128)", {}),
        ("kernel[(M,)](x, M, N)", {"columns": "N"}),
        ("kernel[(M,)](x, M, columns=x.stride(0))", {"columns": "x.stride(0)"}),
        ("kernel[(M,)](x, M, 64, half, BLOCK=half + 1)", {"EVEN": "half", "BLOCK": "half + 1"}),
        ("kernel[(M,)](x, M, 64, EVEN=N % 64 == 0, BLOCK=triton.next_power_of_2(N))", {}),
        ("kernel[(M,)](x, M, 64, BLOCK=triton.next_power_of_2(N) if N <= 4096 else 1024)", {}),
        ("kernel[(M,)](x, M, 64, BLOCK=N if N <= 4096 else 1024)", {"BLOCK": "N if N <= 4096 else 1024"}),
        ("other[(M,)](x, M, N)", {}),
    ],
)
def test_a_size_that_is_a_compile_time_value_is_named_with_what_is_passed(launch, found):
    assert recompiled_sizes(KERNEL.format(launch=launch)) == found
