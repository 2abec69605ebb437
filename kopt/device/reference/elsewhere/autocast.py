"""Let a reference use `torch.autocast` on the CPU as on a GPU, and on meta tensors, where it changes nothing.

`torch.autocast("cuda")` changes nothing about tensors on the CPU, whose own takes its place, and torch knows none of
meta tensors.  `Any`: torch does not type its regions.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import torch

DEFAULT = torch.float16
"""Type of `torch.autocast("cuda")`."""

_noted: ContextVar[set[torch.dtype] | None] = ContextVar("noted", default=None)
_INIT: Any = torch.autocast.__init__


@contextmanager
def noted_types() -> Iterator[set[torch.dtype]]:
    """Note the types of the regions that references make on meta tensors inside the block."""
    types: set[torch.dtype] = set()
    before = _noted.set(types)
    try:
        yield types
    finally:
        _noted.reset(before)


@contextmanager
def autocast_elsewhere(device: torch.device) -> Iterator[None]:
    """Have regions of `torch.autocast`, whatever device they name, be about tensors on `device` inside the block.

    Args:
        device: the CPU, or that of meta tensors, about which a region changes nothing.
    """
    before = torch.autocast.__init__
    made = _made_idle if device.type == "meta" else _made_for_cpu
    torch.autocast.__init__ = made  # type: ignore[assignment,method-assign]
    try:
        yield
    finally:
        torch.autocast.__init__ = before  # type: ignore[method-assign]


def _made_for_cpu(region: Any, device_type: str, dtype: torch.dtype | None = None, *args: Any, **kwargs: Any) -> None:
    del device_type
    _INIT(region, "cpu", dtype or DEFAULT, *args, **kwargs)


def _made_idle(
    region: Any, device_type: str, dtype: torch.dtype | None = None, enabled: bool = True, *args: Any, **kwargs: Any
) -> None:
    del device_type
    types = _noted.get()
    if enabled and types is not None:
        types.add(dtype or DEFAULT)
    _INIT(region, "cpu", torch.bfloat16, False, *args, **kwargs)
