"""Have `torch.autocast` in a reference do on the CPU and on meta tensors what it does on a GPU.

`torch.autocast("cuda")` changes nothing about tensors that are elsewhere, and torch knows no autocast of meta tensors.
`Any`: torch types neither its regions nor what operations take and return.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch.utils._pytree import tree_map_only

from kopt.device.reference.dispatch import DispatchMode

DEFAULT = torch.float16
"""Type of `torch.autocast("cuda")`."""


@contextmanager
def autocast_as_on_gpu(device: torch.device) -> Iterator[None]:
    """Have regions of `torch.autocast`, whatever device they name, mean tensors on `device` inside the block.

    Args:
        device: the CPU, whose own autocast takes the place of the GPU's, or that of meta tensors.
    """
    with ExitStack() as undo:
        undo.callback(setattr, torch.autocast, "__init__", torch.autocast.__init__)
        torch.autocast.__init__ = _made_for_cpu  # type: ignore[assignment,method-assign]
        if device.type == "meta":
            undo.enter_context(_regions_on_meta())
        yield


def _made_for_cpu(region: Any, device_type: str, dtype: torch.dtype | None = None, *args: Any, **kwargs: Any) -> None:
    del device_type
    _INIT(region, "cpu", dtype or DEFAULT, *args, **kwargs)


_INIT: Any = torch.autocast.__init__  # torch does not type it


@contextmanager
def _regions_on_meta() -> Iterator[None]:
    enter, leave = torch.autocast.__enter__, torch.autocast.__exit__
    regions: list[_Converts] = []

    def entered(region: Any) -> Any:
        outer = regions[-1] if regions else None
        regions.append(_Converts(region.fast_dtype if region._enabled else None, outer))
        regions[-1].__enter__()
        return enter(region)  # type: ignore[no-untyped-call]

    def left(region: Any, *error: Any) -> Any:
        result: Any = leave(region, *error)
        regions.pop().__exit__(*error)
        return result

    torch.autocast.__enter__ = entered  # type: ignore[method-assign]
    torch.autocast.__exit__ = left  # type: ignore[method-assign]
    try:
        yield
    finally:
        torch.autocast.__enter__ = enter  # type: ignore[method-assign]
        torch.autocast.__exit__ = leave  # type: ignore[method-assign]


class _Converts(DispatchMode):
    """Convert the operands of products and convolutions, as the innermost region says."""

    def __init__(self, dtype: torch.dtype | None, outer: _Converts | None) -> None:
        """Make the mode of a region.

        Args:
            dtype: type in which its products are computed; None where they stay as they are.
            outer: mode of the region around it, which rests meanwhile.
        """
        super().__init__()  # type: ignore[no-untyped-call]  # torch does not type it
        self._dtype = dtype
        self._outer = outer
        self._rests = False

    def __enter__(self) -> Any:
        if self._outer is not None:
            self._outer._rests = True
        return super().__enter__()  # type: ignore[no-untyped-call]

    def __exit__(self, *error: Any) -> None:
        super().__exit__(*error)  # type: ignore[no-untyped-call]
        if self._outer is not None:
            self._outer._rests = False

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run one operation."""
        from torch.utils.flop_counter import flop_registry  # here, because it imports Triton

        kwargs = kwargs or {}
        if self._dtype is not None and not self._rests and func.overloadpacket in flop_registry:
            args, kwargs = tree_map_only(torch.Tensor, self._converted, (args, kwargs))
        return func(*args, **kwargs)

    def _converted(self, tensor: torch.Tensor) -> torch.Tensor:
        return tensor.to(self._dtype) if tensor.is_floating_point() and tensor.dtype != torch.float64 else tensor
