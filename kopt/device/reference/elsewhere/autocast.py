"""Let `torch.autocast` in a reference mean on the CPU and on meta tensors what it means on a GPU.

torch's regions for a GPU change nothing about tensors elsewhere, the CPU has its own types for operations, and meta
tensors have none.  `policy` has the GPU's for all.  `Any`: torch does not type its regions.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

from kopt.device.reference.elsewhere.policy import DEVICE, policy_at_hand

DEFAULT = torch.float16
"""Type of `torch.autocast("cuda")`."""

_INIT: Any = torch.autocast.__init__
_ENTER: Any = torch.autocast.__enter__
_EXIT: Any = torch.autocast.__exit__


@contextmanager
def autocast_as_on_gpu(device: torch.device) -> Iterator[None]:
    """Have regions of `torch.autocast` be kopt's own inside the block, which mean the same on all devices.

    Args:
        device: that of the reference's tensors.  Elsewhere than on a GPU, regions of whatever device mean it.
    """
    elsewhere = device.type != "cuda"
    entered: list[Any] = []

    def enter(region: Any) -> Any:
        if region.device == "cuda":
            region.device = DEVICE
            entered.append(region)
        result = _ENTER(region)
        if elsewhere:
            _tell()
        return result

    def leave(region: Any, *error: Any) -> Any:
        result = _EXIT(region, *error)
        if elsewhere:
            _tell()
        return result

    regions: Any = torch.autocast
    before = regions.__init__, regions.__enter__, regions.__exit__
    enabled, dtype = torch.is_autocast_enabled(DEVICE), torch.get_autocast_dtype(DEVICE)
    asked = torch.is_autocast_enabled, torch.get_autocast_dtype
    if not elsewhere:  # torch's layers take another way outside of regions
        torch.is_autocast_enabled, torch.get_autocast_dtype = map(_of_own_regions, asked)
    regions.__init__, regions.__enter__, regions.__exit__ = _made if elsewhere else _INIT, enter, leave
    try:
        with policy_at_hand():
            yield
    finally:
        regions.__init__, regions.__enter__, regions.__exit__ = before
        torch.is_autocast_enabled, torch.get_autocast_dtype = asked
        for region in entered:
            region.device = "cuda"
        torch.set_autocast_enabled(DEVICE, enabled)
        torch.set_autocast_dtype(DEVICE, dtype)
        if elsewhere:
            _tell()


def _of_own_regions(function: Any) -> Any:
    """Return a function of torch that tells of a GPU's regions, with the answer for kopt's own."""
    return lambda device="cuda": function(DEVICE if device == "cuda" else device)


def _made(
    region: Any, device_type: str, dtype: torch.dtype | None = None, enabled: bool = True,
    cache_enabled: bool | None = None,
) -> None:  # fmt: skip
    """Make a region for a GPU that is in force on machines without one, too, where torch would switch it off."""
    del device_type
    _INIT(region, "cuda", dtype or DEFAULT, False, cache_enabled)
    region._enabled = enabled


def _tell() -> None:
    """Have torch say of a GPU's regions what holds for kopt's: there are no tensors on a GPU that this would change."""
    torch.set_autocast_enabled("cuda", torch.is_autocast_enabled(DEVICE))
    torch.set_autocast_dtype("cuda", torch.get_autocast_dtype(DEVICE))
