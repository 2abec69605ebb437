"""Whether a convolution's seed may take TF32 follows from torch's setting, whichever of its two names was used."""

import pytest
import torch

from kopt.seed.operations.operators import _may_take_tf32


@pytest.fixture
def cudnn():
    before = torch.backends.cudnn.conv.fp32_precision
    yield torch.backends.cudnn
    torch.backends.cudnn.conv.fp32_precision = before


def test_a_convolution_whose_products_torch_keeps_exact_takes_no_tf32(cudnn):
    weight = torch.zeros(4, 4, 3, 3)
    assert _may_take_tf32(weight)
    assert not _may_take_tf32(weight.half())
    cudnn.conv.fp32_precision = "ieee"
    assert not _may_take_tf32(weight)
