"""Run a reference in another type than its own: decide what the types that its source names mean there.

In the type in which a reference is computed stand the numbers of its own types, of `float32`, and of the 16-bit types
that it names.  A conversion to a 16-bit type that it names is a part of what it says: the numbers are rounded to that
type.  What it computes with them is not: how eager rounds that is eager's own, as where it converts to `x.dtype`.
Conversions to integers and to 8-bit types stay as they are.  `Any`: functions of torch take and return anything.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from torch.utils._pytree import tree_leaves

HALF_TYPES = (torch.bfloat16, torch.float16)
"""Types in which kernels round operands once more."""

_TO_HALF = {torch.Tensor.bfloat16: torch.bfloat16, torch.Tensor.half: torch.float16}
"""Methods that make numbers of 16 bits."""

_HALF_TENSORS = {"HalfTensor": torch.float16, "BFloat16Tensor": torch.bfloat16}
"""16-bit types by the older names that `torch.Tensor.type` takes, with `torch.` or `torch.cuda.` before them."""

_CONVERSIONS = {torch.Tensor.to, torch.Tensor.type, *_TO_HALF}

_DTYPE = torch.Tensor.dtype.__get__  # type: ignore[attr-defined]  # torch types it as a plain value

_Run = Callable[[Any, tuple[Any, ...], dict[str, Any]], Any]


class Region(NamedTuple):
    """Types in which a region of `torch.autocast` has operations compute."""

    lower: torch.dtype
    """The region's own, or what holds its numbers."""
    wide: torch.dtype = torch.float32
    """float32, or what stands for it."""
    rounded: torch.dtype | None = None
    """Type to which conversions to `lower` round; None for `lower`."""


@dataclass(frozen=True)
class Pass:
    """A computation of a reference in another type than its own."""

    computed: torch.dtype
    """Type in which the reference computes."""
    own: torch.dtype | None
    """Type of the problem's inputs; None where they have several."""
    wider: torch.dtype | None = None
    """Type for which the reference's float32 stands; None where it stands for itself."""
    half: torch.dtype | None = None
    """16-bit type for which the computed type stands, and which the reference sees; None where it stands for none."""
    rounds: bool = True
    """Whether conversions to other 16-bit types round to them."""
    named: set[torch.dtype] = field(default_factory=set)
    """16-bit types, narrower than the computed one, that the reference has named, also for `torch.autocast`."""

    def call(self, run: _Run, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Call a function of torch, by `run`, with the meaning that its types have."""
        viewed = (*args[1:2], *kwargs.values()) if func is torch.Tensor.view else ()
        if len(viewed) == 1 and isinstance(viewed[0], torch.dtype):
            return self.view(args[0], viewed[0])
        if self.half is not None and func == _DTYPE:
            return self._seen(func(*args))
        if func is torch.Tensor.float and self.wider is not None:
            return args[0].to(self.wider)
        if func is torch.Tensor.type:
            args = tuple(map(_by_older_name, args))
            kwargs = {name: _by_older_name(value) for name, value in kwargs.items()}
        named = {one for one in (_TO_HALF.get(func), *args, *kwargs.values()) if self._is_held(one)}
        self.named.update(named - {self.half})
        computes = self.half in named or (bool(named) and not self._is_exact(func, args, kwargs))
        if computes and func in _TO_HALF:
            return args[0].to(self.computed)
        args = tuple(self._meant(value, computes) for value in args)
        made = run(func, args, {name: self._meant(value, computes) for name, value in kwargs.items()})
        holds = func in _CONVERSIONS or (bool(named) and not computes)
        held = holds and isinstance(made, torch.Tensor) and self._is_held(made.dtype)
        return made.to(self.computed) if held else made

    def region(self, dtype: torch.dtype) -> Region | None:
        """Return what a region of `torch.autocast` does here, where its conversions are as if the source named them.

        None where it changes nothing: torch converts no float64.
        """
        if not self._is_held(dtype) or self.own is torch.float64:
            return None
        self.named.add(dtype)
        wide = self.computed if self.wider is None else self.wider
        if dtype == self.half:
            return Region(self.computed, wide)
        return Region(self.computed, wide, dtype) if self.rounds else None

    def view(self, value: torch.Tensor, wanted: torch.dtype) -> torch.Tensor:
        """View the bits of numbers as the reference does in its own type, whose width the computed type lacks."""
        if value.is_floating_point() and not wanted.is_floating_point:
            types = {one for one in (self.own, *self.named, torch.float32) if one is not None}
            own = self.own if self.own is not None and wanted.itemsize in (self.own.itemsize, 1) else None
            same = [one for one in types if one.itemsize == wanted.itemsize]
            narrow = own or (same[0] if len(same) == 1 else value.dtype)
            return (value.to(narrow) if value.dtype == self.computed else value).view(wanted)
        made = value.view(wanted)
        numbers = wanted.is_floating_point and wanted.itemsize > 1 and not value.is_floating_point()
        return made.to(self.computed) if numbers else made

    def _is_held(self, value: Any) -> bool:
        """Return whether a value is a 16-bit type whose numbers are held in the computed one."""
        return isinstance(value, torch.dtype) and value in HALF_TYPES and value.itemsize < self.computed.itemsize

    def _is_exact(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
        """Return whether a function that names a 16-bit type gives numbers of it: a conversion, or constants."""
        if func in _CONVERSIONS:
            return self.rounds
        name = getattr(func, "__name__", "")
        alone = not any(isinstance(leaf, torch.Tensor) for leaf in tree_leaves((args, kwargs)))
        return alone or name.startswith("new_") or name.endswith("_like")

    def _meant(self, value: Any, computes: bool) -> Any:
        """Return a type for one that the reference names, and any other value as it is.

        Args:
            value: an argument of a function of torch.
            computes: the function computes in the 16-bit type that it names, so that it computes in a wider one here.
        """
        if computes and self._is_held(value):
            return self.computed
        return self.wider if value is torch.float32 and self.wider is not None else value

    def _seen(self, dtype: torch.dtype) -> torch.dtype:
        """Return the type that the reference sees, where wider types hold numbers of 16 bits and of float32."""
        seen = {self.wider: torch.float32, self.computed: self.half}
        return seen.get(dtype) or dtype


_pass: ContextVar[Pass | None] = ContextVar("pass", default=None)


def current_pass() -> Pass | None:
    """Return the computation in another type in which references run now; None where they run in their own."""
    return _pass.get()


@contextmanager
def computing_in(
    dtype: torch.dtype,
    inputs: object = (),
    narrow: torch.dtype | None = None,
    half: torch.dtype | None = None,
    *,
    rounds: bool = True,
) -> Iterator[Pass]:
    """Have references compute in `dtype` inside the block where their source names float32, if `dtype` is wider.

    Where they view numbers as integers of the same width, the numbers are first rounded to the type of the inputs.

    Args:
        dtype: the type.
        inputs: inputs of the reference in their own types.
        narrow: type in which it computes elsewhere; None for `dtype`, too.
        half: 16-bit type for which `narrow` stands; None for none.
        rounds: conversions to other 16-bit types, where the source names them, round to these types.
    """
    types = {leaf.dtype for leaf in tree_leaves(inputs) if isinstance(leaf, torch.Tensor) and _is_wide(leaf)}
    own = types.pop() if len(types) == 1 else None
    made = Pass(narrow or dtype, own, dtype if dtype is torch.float64 else None, half, rounds)
    before = _pass.set(made)
    try:
        yield made
    finally:
        _pass.reset(before)


def copied_in(value: Any, dtype: torch.dtype) -> Any:
    """Copy a tensor, one of floating-point numbers to `dtype`, so that a model may change it; return other values."""
    if not isinstance(value, torch.Tensor):
        return value
    return value.to(dtype, copy=True) if value.is_floating_point() else value.clone()


def _by_older_name(value: Any) -> Any:
    """Return the 16-bit type that an argument of `torch.Tensor.type` means by an older name, else the argument."""
    name = value.rpartition(".")[2] if isinstance(value, str) else getattr(value, "__name__", "")
    return _HALF_TENSORS.get(name, value)


def _is_wide(value: torch.Tensor) -> bool:
    """Return whether a tensor holds floating-point numbers of more than 8 bits."""
    return value.is_floating_point() and value.element_size() > 1
