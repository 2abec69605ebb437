"""The record of one interpreted call, to be run again on other inputs: what its launches do by themselves.

What a candidate's Python does around its launches runs once.  Run again from the record are its launches, with the same
arguments, and the allocations, fills and copies between them.  Inputs hold new values then, and memory that the call
allocated is NaN: a result that torch, NumPy or plain Python computed on the host comes out stale or as NaN.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch.utils._pytree import tree_leaves

from kopt.device.build.hostops import Kind
from kopt.device.interpret.races import Races, Seen
from kopt.device.interpret.session import SESSION


@dataclass
class InterpretedCall:
    """What one call did, in order."""

    allocated: list[torch.Tensor] = field(default_factory=list)
    steps: list[Callable[[], None]] = field(default_factory=list)
    launch: Seen | None = None
    """What the present launch is seen to do."""

    def host(self, kind: Kind | None, func: Any, args: Any, kwargs: Any, result: Any) -> None:
        """An operation of torch: allocations, fills and copies are done again; what computes is not."""
        if kind == "allocation":
            self.allocated += _tensors(result)
        elif kind in ("fill", "copy"):
            self.steps.append(lambda: _again(func, args, kwargs, result))

    def launched(self, run: Callable[[], None]) -> None:
        """A launch begins, which `run` makes again."""
        seen = self.launch = Seen()
        self.steps.append(lambda: _watched(run, seen))

    def replay(self) -> None:
        """Do it all again, and watch the launches for data races.

        Raises:
            DataRace: programs of a launch depend on each other.
            Exception: whatever a launch raises on other inputs.
        """
        with SESSION.at("interpreter"):
            for tensor in self.allocated:
                poison(tensor)
        for step in self.steps:
            step()


def poison(tensor: torch.Tensor) -> None:
    """Fill memory with NaN, or with what stands for it: the largest integer, or true."""
    if tensor.dtype.is_floating_point or tensor.dtype.is_complex:
        tensor.fill_(float("nan"))
    else:
        tensor.fill_(True if tensor.dtype == torch.bool else torch.iinfo(tensor.dtype).max)


def _again(func: Any, args: Any, kwargs: Any, result: Any) -> None:
    """Do an operation of torch again, into the tensors that it gave the first time."""
    with SESSION.at("interpreter"):
        for known, new in zip(_tensors(result), _tensors(func(*args, **kwargs)), strict=True):
            if new is not known and new.data_ptr() != known.data_ptr():
                known.copy_(new)


def _watched(run: Callable[[], None], seen: Seen) -> None:
    SESSION.races = Races(seen)
    try:
        run()
    finally:
        SESSION.races = None


def _tensors(values: Any) -> list[torch.Tensor]:
    return [leaf for leaf in tree_leaves(values) if isinstance(leaf, torch.Tensor)]
