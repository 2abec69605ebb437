"""Record one interpreted call, so that its launches can be repeated on other inputs.

The Python that a candidate runs around its launches runs once.  Repeated are the launches, with the same arguments, and
the allocations, fills and copies between them.  Inputs hold new values then, and memory that the call allocated holds
NaN: a result that torch, NumPy or plain Python computed on the host comes out stale or as NaN.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch.utils._pytree import tree_leaves

from kopt.device.interpret.races import ObservedLaunch


@dataclass(frozen=True)
class HostStep:
    """A fill or copy by torch.  `Any`: torch's dispatch passes operations and their arguments untyped."""

    func: Any
    args: Any
    kwargs: Any
    result: Any

    def repeat(self) -> None:
        """Run the operation again and copy its results into the tensors of the first time."""
        again = tensors_in(self.func(*self.args, **self.kwargs))
        for first, new in zip(tensors_in(self.result), again, strict=True):
            if new is not first and new.data_ptr() != first.data_ptr():
                first.copy_(new)


@dataclass(frozen=True)
class LaunchStep:
    """A launch."""

    repeat: Callable[[], object]
    """Launch again, with the same arguments."""
    observed: ObservedLaunch = field(default_factory=ObservedLaunch)
    """Observations of the launch's first run."""


@dataclass
class InterpretedCall:
    """The record of one call of an entry point."""

    allocated: list[torch.Tensor] = field(default_factory=list)
    """Tensors that torch allocated."""
    steps: list[HostStep | LaunchStep] = field(default_factory=list)
    """Launches, fills and copies, in order."""

    @property
    def launch(self) -> ObservedLaunch | None:
        """Observations of the latest launch; None before the first launch."""
        return next((step.observed for step in reversed(self.steps) if isinstance(step, LaunchStep)), None)


def fill_with_nan(tensor: torch.Tensor) -> None:
    """Fill memory with NaN, or with what stands for it: the largest integer, or true."""
    if tensor.dtype.is_floating_point or tensor.dtype.is_complex:
        tensor.fill_(float("nan"))
    else:
        tensor.fill_(True if tensor.dtype == torch.bool else torch.iinfo(tensor.dtype).max)


def fill_otherwise(tensor: torch.Tensor) -> None:
    """Fill memory with other values than `fill_with_nan` does: zeros."""
    tensor.zero_()


def storage_range(tensor: torch.Tensor) -> tuple[int, int]:
    """Return first address and end of a tensor's storage."""
    storage = tensor.untyped_storage()
    return storage.data_ptr(), storage.data_ptr() + storage.nbytes()


def tensors_in(values: object) -> list[torch.Tensor]:
    """Return the tensors in nested lists, tuples and dictionaries, in order."""
    return [leaf for leaf in tree_leaves(values) if isinstance(leaf, torch.Tensor)]
