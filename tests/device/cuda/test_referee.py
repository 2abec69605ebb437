"""The referee's copies of small results are what was on the device."""

import torch

from kopt.device.cuda.referee.outputs import HOST_BYTES, on_host


def test_small_tensors_of_any_type_come_to_the_host_as_they_are():
    kept = [
        torch.randn(3, 5), torch.randn(7).bfloat16(), torch.tensor(2.5), torch.tensor([True, False, True]),
        torch.arange(5), torch.randn(4, 4, dtype=torch.float64), torch.randn(9).to(torch.float8_e4m3fn),
    ]  # fmt: skip
    left = [torch.empty(0), torch.empty(HOST_BYTES // 4 + 1)]
    copies = on_host([*kept, *left])
    assert set(copies) == {id(tensor) for tensor in kept}
    for tensor in kept:
        copy = copies[id(tensor)]
        assert (copy.dtype, copy.shape) == (tensor.dtype, tensor.shape)
        assert torch.equal(copy.reshape(-1).view(torch.uint8), tensor.reshape(-1).view(torch.uint8))
    assert on_host(left) == {}
