"""Let a reference enter regions of `torch.autocast` on meta tensors, where they change nothing, and note their types.

torch knows no autocast of meta tensors, and raises for one.  `Any`: torch does not type its regions.
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
def idle_autocast() -> Iterator[None]:
    """Have regions of `torch.autocast` change nothing inside the block, whatever device they name."""
    before = torch.autocast.__init__
    torch.autocast.__init__ = _made_idle  # type: ignore[assignment,method-assign]
    try:
        yield
    finally:
        torch.autocast.__init__ = before  # type: ignore[method-assign]


def _made_idle(
    region: Any, device_type: str, dtype: torch.dtype | None = None, enabled: bool = True, *args: Any, **kwargs: Any
) -> None:
    del device_type
    types = _noted.get()
    if enabled and types is not None:
        types.add(dtype or DEFAULT)
    _INIT(region, "cpu", torch.bfloat16, False, *args, **kwargs)
