"""Follow the inputs and parameters of a reference through its operations: base of modes that look where they arrive."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch.utils.weak import WeakIdKeyDictionary

from kopt.device.reference.dispatch import DispatchMode
from kopt.device.reference.tree import tensors_of

Source = int | str
"""Place of a tensor among the leaves of the inputs, or a parameter's name."""


class Sources(DispatchMode):
    """Know of each tensor of which inputs and parameters it is made, as far as `passes` lets them through."""

    def __init__(self, leaves: Mapping[Source, object]) -> None:
        """Follow the floating-point tensors among inputs and parameters."""
        super().__init__()  # type: ignore[no-untyped-call]  # torch does not type it
        self._sources: Any = WeakIdKeyDictionary()  # torch does not type it
        for source, leaf in leaves.items():
            if isinstance(leaf, torch.Tensor) and leaf.is_floating_point():
                self._sources[leaf] = self.of(leaf) | {source}

    def of(self, values: object) -> frozenset[Source]:
        """Return the inputs and parameters of which the tensors among values are made."""
        return frozenset().union(*(self._sources.get(tensor, frozenset()) for tensor in tensors_of(values)))

    def arrived(self, name: str, args: tuple[Any, ...]) -> None:
        """Look at an operation, some operand of which is made of what is followed."""
        raise NotImplementedError

    def passed(self, func: Any, name: str, args: tuple[Any, ...], operands: frozenset[Source]) -> frozenset[Source]:
        """Return what the results of an operation count as made of."""
        raise NotImplementedError

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run one operation."""
        results = func(*args, **(kwargs or {}))
        if operands := self.of((args, kwargs)):
            name = func.overloadpacket.__name__
            self.arrived(name, args)
            if passed := self.passed(func, name, args, operands):
                for result in tensors_of(results):
                    self._sources[result] = self._sources.get(result, frozenset()) | passed
        return results
