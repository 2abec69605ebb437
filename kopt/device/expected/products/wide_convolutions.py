"""Convolve float64 numbers on a GPU by products of matrices, which its tensor cores compute.

cuDNN's kernels for float64 take 2 to 12 times as long (docs/judging.md).  `Any`: torch passes operations, their
arguments and results untyped.
"""

from __future__ import annotations

from collections.abc import Callable
from math import prod
from typing import Any

import torch

from kopt.device.expected.products.float32 import CONVOLUTIONS, operation_name
from kopt.device.reference.dispatch import DispatchMode

COPIES = 3
"""Memory of a convolution by products, over the size of the windows of one image."""


def free_bytes() -> int:
    """Return the memory of the current GPU that this process may still take, bytes."""
    free, _ = torch.cuda.mem_get_info()
    return int(free) + torch.cuda.memory_reserved() - torch.cuda.memory_allocated()


class WideConvolutions(DispatchMode):
    """Convolve float64 numbers without cuDNN where there is memory for the windows of an image, side by side."""

    def __init__(self, free: Callable[[], int] = free_bytes) -> None:
        """Begin with the memory that `free` returns, bytes."""
        super().__init__()  # type: ignore[no-untyped-call]  # torch does not type it
        self._free = free

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run one operation."""
        kwargs = kwargs or {}
        if operation_name(func) not in CONVOLUTIONS or args[0].dtype != torch.float64:
            return func(*args, **kwargs)
        enabled = torch._C._get_cudnn_enabled()
        torch._C._set_cudnn_enabled(enabled and COPIES * windows_bytes(func, args) > self._free())
        try:
            return func(*args, **kwargs)
        finally:
            torch._C._set_cudnn_enabled(enabled)


def windows_bytes(func: Any, args: tuple[Any, ...]) -> int:
    """Return at most how many bytes the windows of one image take that a convolution multiplies by its weights.

    Args:
        func: `aten.convolution`, or its gradient.
        args: its arguments.
    """
    given = {argument.name: value for argument, value in zip(func._schema.arguments, args, strict=False)}
    weight, image = given["weight"], given["input"].shape[2:]
    padded = prod(size + 2 * padding for size, padding in zip(image, _each(given["padding"], len(image)), strict=True))
    return int(weight[:1].numel() * padded * weight.element_size())


def _each(values: list[int], dimensions: int) -> list[int]:
    return values * dimensions if len(values) == 1 else values
