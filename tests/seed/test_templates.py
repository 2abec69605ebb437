"""Templates give what PyTorch gives, in Triton's own interpreter, for strides, dilations and groups of all kinds."""

import os
import subprocess
import sys

import pytest
import triton

OLD = tuple(map(int, triton.__version__.split(".")[:2])) < (3, 7)
TRANSPOSED = """
import torch
import triton.runtime.interpreter  # in whose eyes the CPU is a device
from kopt.seed.templates.convolution_transpose import convolution_transpose

torch.manual_seed(0)
for n, kernel, stride, padding, extra, dilation, groups in [
    (1, [3], [1], [0], [0], [1], 1),
    (1, [2], [4], [0], [1], [1], 1),          # residues that no tap hits
    (1, [5], [3], [2], [2], [2], 2),
    (1, [4], [6], [3], [0], [4], 1),          # two in three residues that no tap hits, one tap in three that hits
    (2, [3, 5], [1, 2], [1, 0], [0, 1], [1, 1], 3),
    (2, [3, 3], [2, 2], [1, 1], [1, 1], [2, 2], 1),
    (2, [2, 3], [5, 3], [1, 2], [0, 2], [3, 1], 1),
    (3, [2, 3, 2], [2, 1, 3], [1, 1, 0], [0, 0, 1], [1, 2, 1], 2),
    (1, [50], [2], [1], [0], [1], 1),         # residues along the last axis one by one
    (2, [3, 30], [2, 2], [1, 3], [1, 0], [1, 2], 1),
]:
    channels, made = 3 * groups, 2 * groups
    x = torch.randn(2, channels, *[4, 3, 5][:n])
    weight = torch.randn(channels, made // groups, *kernel)
    given = (stride, padding, extra, dilation, groups)
    function = getattr(torch.nn.functional, f"conv_transpose{n}d")
    right = function(x, weight, None, stride, padding, extra, groups, dilation)
    torch.testing.assert_close(convolution_transpose(x, weight, *given), right, rtol=1e-4, atol=1e-4)
print("right")
"""
PLAIN = """
import torch
import triton.runtime.interpreter
from kopt.seed.templates.convolution import convolution

torch.manual_seed(0)
for n, channels, made, kernel, stride, padding, dilation, groups in [
    (1, 3, 5, [4], [2], [3], [1], 1),         # a row of a window as one tap, padded
    (2, 3, 5, [2, 3], [2, 3], [1, 2], [1, 1], 1),
    (2, 3, 5, [3, 3], [1, 1], [1, 0], [2, 1], 1),
    (2, 3, 5, [3, 3], [1, 1], [1, 2], [1, 2], 1),    # pixels of a row lie apart
    (2, 6, 4, [3, 3], [1, 2], [1, 1], [1, 1], 2),    # and so do those of a group
    (2, 20, 40, [3, 2], [1, 2], [1, 1], [1, 1], 1),
    (2, 3, 5, [1, 1], [1, 1], [0, 0], [1, 1], 1),
    (3, 1, 2, [2, 2, 3], [1, 1, 2], [0, 1, 2], [1, 1, 1], 1),
    (3, 3, 2, [2, 1, 12], [1, 1, 1], [0, 0, 4], [1, 1, 1], 1),
]:
    x = torch.randn(2, channels, *[5, 7, 6][-n:])
    weight = torch.randn(made, channels // groups, *kernel)
    given = (stride, padding, dilation, groups)
    right = getattr(torch.nn.functional, f"conv{n}d")(x, weight, None, *given)
    torch.testing.assert_close(convolution(x, weight, *given), right, rtol=1e-4, atol=1e-4)
print("right")
"""


@pytest.mark.skipif(OLD, reason="the interpreter of Triton 3.6 takes no tensor as a bound of range")
@pytest.mark.parametrize("program", [TRANSPOSED, PLAIN], ids=["transposed", "plain"])
def test_a_convolution_gives_what_pytorch_gives(program):
    environment = os.environ | {"TRITON_INTERPRET": "1"}
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=False)
    assert done.stdout.strip() == "right", done.stderr[-2000:]
