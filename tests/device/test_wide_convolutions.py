from typing import Any

import pytest
import torch

from kopt.device.expected.products.float32 import CONVOLUTIONS, operation_name
from kopt.device.expected.products.wide_convolutions import COPIES, WideConvolutions, windows_bytes
from kopt.device.reference.dispatch import DispatchMode

F = torch.nn.functional


class Seen(DispatchMode):
    """Note for each convolution whether cuDNN may compute it, and how large its windows are."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.enabled: list[bool] = []
        self.sizes: list[int] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if operation_name(func) in CONVOLUTIONS:
            self.enabled.append(torch._C._get_cudnn_enabled())
            self.sizes.append(windows_bytes(func, args))
        return func(*args, **(kwargs or {}))


def seen(call, free: int) -> Seen:
    with Seen() as noted, WideConvolutions(lambda: free):
        call()
    return noted


def ones(*shape: int, dtype: torch.dtype = torch.float64) -> torch.Tensor:
    return torch.ones(shape, dtype=dtype)


CALLS = {
    "forward": (lambda: F.conv2d(ones(2, 3, 8, 8), ones(5, 3, 3, 3), padding=1), 3 * 9 * 100 * 8),
    "one dimension, in groups": (lambda: F.conv1d(ones(2, 4, 8), ones(4, 2, 3), groups=2), 2 * 3 * 8 * 8),
    "transposed": (lambda: F.conv_transpose3d(ones(2, 3, 4, 4, 4), ones(3, 5, 2, 2, 2)), 5 * 8 * 64 * 8),
}


@pytest.mark.parametrize("name", CALLS)
def test_float64_is_convolved_without_cudnn_where_memory_suffices(name: str):
    call, size = CALLS[name]
    enough, short = seen(call, COPIES * size), seen(call, COPIES * size - 1)
    assert (enough.enabled, enough.sizes, short.enabled) == ([False], [size], [True])
    assert torch._C._get_cudnn_enabled()


def test_gradients_of_convolutions_count_too():
    def call() -> None:
        x = ones(2, 3, 8, 8).requires_grad_()
        F.conv2d(x, ones(5, 3, 3, 3)).sum().backward()

    noted = seen(call, 1 << 30)
    assert noted.enabled == [False, False]


def test_other_types_keep_cudnn():
    assert seen(
        lambda: F.conv1d(ones(1, 1, 8, dtype=torch.float32), ones(1, 1, 3, dtype=torch.float32)), 1 << 30
    ).enabled == [True]


def test_a_choice_of_no_cudnn_stays():
    with torch.backends.cudnn.flags(enabled=False):
        assert seen(CALLS["forward"][0], 0).enabled == [False]
        assert not torch._C._get_cudnn_enabled()


@pytest.mark.gpu
@pytest.mark.parametrize("transposed", [False, True])
def test_both_ways_give_the_same_numbers_on_a_gpu(transposed: bool):
    torch.manual_seed(0)
    x = torch.randn(2, 16, 20, 24, dtype=torch.float64, device="cuda")
    weight = torch.randn(16, 16, 3, 5, dtype=torch.float64, device="cuda")
    call = F.conv_transpose2d if transposed else F.conv2d
    with WideConvolutions():
        one = call(x, weight, stride=2, padding=1)
    torch.testing.assert_close(one, call(x, weight, stride=2, padding=1), rtol=1e-12, atol=1e-12)
