"""Take values apart that hold tensors: nested tuples, lists and dictionaries, named tuples and dataclasses.

A value is its structure, written as a text, and its tensors with their names.  `(Tensor, {'k': Tensor, 'n': 3})` is the
structure of a tuple; its tensors, if it is called `output`, are `output[0]` and `output[1]['k']`.  Numbers, texts and
None are part of the structure.  A named tuple counts as a tuple and a dataclass as a dictionary of its fields, since a
kernel's module cannot name the classes of `problem.py`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any  # a value may be of any type

import torch
from torch.utils._pytree import tree_leaves

PLAIN = (bool, int, str, type(None), torch.dtype)
"""Types of values that are compared by how they are written."""


@dataclass
class TakenApart:
    """The parts of a value."""

    structure: str = ""
    tensors: dict[str, torch.Tensor] = field(default_factory=dict)
    """By name."""
    unknown: list[str] = field(default_factory=list)
    """Types that are neither tensors nor plain values nor containers."""


def taken_apart(value: object, name: str, exact: tuple[type, ...] | None = None) -> TakenApart:
    """Return the structure of a value, and its tensors by name.

    Args:
        value: the value.
        name: name of the value.
        exact: types that count as a tensor, exactly; None to let every subclass count.
    """
    walk = _Walk(exact)
    walk.parts.structure = walk.structure(value, name)
    return walk.parts


def tensors_of(values: object) -> list[torch.Tensor]:
    """Return the tensors in nested lists, tuples and dictionaries."""
    return [leaf for leaf in tree_leaves(values) if isinstance(leaf, torch.Tensor)]


def with_tensors_replaced(value: Any, name: str, make: Callable[[str, torch.Tensor], object]) -> Any:
    """Return a value with another one in the place of each tensor.

    Args:
        value: the value.
        name: name of the value.
        make: makes what replaces a tensor, from the tensor's name (as `taken_apart` gives it) and the tensor.
    """
    if isinstance(value, torch.Tensor):
        return make(name, value)
    if isinstance(value, tuple | list):
        items = [with_tensors_replaced(item, f"{name}[{place}]", make) for place, item in enumerate(value)]
        return type(value)(*items) if hasattr(value, "_fields") else type(value)(items)
    if isinstance(value, dict):
        return {key: with_tensors_replaced(item, f"{name}[{_key(key)}]", make) for key, item in value.items()}
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = {one.name: getattr(value, one.name) for one in dataclasses.fields(value)}
        return dataclasses.replace(
            value, **{key: with_tensors_replaced(item, f"{name}[{key!r}]", make) for key, item in fields.items()}
        )
    return value


@dataclass
class _Walk:
    """A walk over one value.  It calls the methods of base classes: those of a candidate's class could compute."""

    exact: tuple[type, ...] | None
    parts: TakenApart = field(default_factory=TakenApart)

    def structure(self, value: object, name: str) -> str:
        """Return the structure of a value and note its tensors."""
        if isinstance(value, torch.Tensor) and (self.exact is None or type(value) in self.exact):
            self.parts.tensors[name] = value
            return "Tensor"
        if type(value) in PLAIN:
            return repr(value)
        if type(value) is float:
            return repr(float(f"{value:.6g}"))
        if isinstance(value, tuple):
            inner = self._sequence(tuple.__iter__(value), name)
            return f"({inner},)" if tuple.__len__(value) == 1 else f"({inner})"
        if isinstance(value, list):
            return f"[{self._sequence(list.__iter__(value), name)}]"
        if isinstance(value, dict):
            return self._mapping(dict.items(value), name)
        if dataclasses.is_dataclass(value) and not isinstance(value, type):
            return self._mapping([(one.name, getattr(value, one.name)) for one in dataclasses.fields(value)], name)
        self.parts.unknown.append(f"{type(value).__module__}.{type(value).__qualname__}")
        return self.parts.unknown[-1]

    def _sequence(self, values: Iterable[object], name: str) -> str:
        return ", ".join(self.structure(value, f"{name}[{place}]") for place, value in enumerate(values))

    def _mapping(self, items: Iterable[tuple[object, object]], name: str) -> str:
        """Write a dictionary, sorted by key: the order of its keys does not matter."""
        ordered = sorted(((_key(key), value) for key, value in items), key=lambda item: item[0])
        inner = [f"{key}: {self.structure(value, f'{name}[{key}]')}" for key, value in ordered]
        return "{" + ", ".join(inner) + "}"


def _key(key: object) -> str:
    return repr(key) if type(key) in PLAIN else f"{type(key).__module__}.{type(key).__qualname__}"
