"""Find the numbers that a model and the constants of its reference keep, and put others in their place.

Numbers stand in attributes and constants, in lists, tuples and dictionaries of them, in objects of the reference's own
classes (`self.config.n_embd`) and in these classes, in what functions enclose (`lambda x: x[..., :d]`) and have for
defaults.  `Any`: references keep whatever they choose.
"""

from __future__ import annotations

import argparse
import types
from collections.abc import Callable, Iterable, Iterator, MutableMapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import torch

_CELL = "cell_contents"
_CALLED = ("__call__", "__init__")
"""Methods of a class whose names are Python's, that may have defaults."""

DEPTH = 5
"""Most steps from an attribute or a constant to a number."""


@dataclass(frozen=True)
class Place:
    """A place at which a value is kept."""

    owner: str
    """`model` for an attribute, `reference` for a constant: both may have one of the same name."""
    name: str
    """The attribute or the constant, and how a number is reached from there: `config.n_embd`, `sizes[0]`."""
    get: Callable[[], Any]
    store: Callable[[Any], None]
    """Puts another value in its place."""
    is_passed: bool = True
    """Whether a kernel can be given what the place holds, by its name."""


def kept_in(owner: str, values: MutableMapping[str, Any], name: str, key: str) -> Place:
    """Return the place of an attribute or a constant in the dictionary of its owner."""
    return Place(owner, name, partial(values.__getitem__, key), partial(values.__setitem__, key), key[:1] != "_")


def numbers_in(place: Place, module: str, depth: int = DEPTH) -> Iterator[Place]:
    """Yield the places of the numbers that a place holds, itself where it holds a number.

    Args:
        place: the place.
        module: name of the reference's module: objects of other modules' classes are left alone.
        depth: how many steps to go.
    """
    value = place.get()
    if type(value) in (int, float):
        yield place
    elif isinstance(value, np.number):
        yield replace(place, get=partial(_plain, place), is_passed=False)
    elif depth:
        for inner in _parts(place, value, module):
            yield from numbers_in(inner, module, depth - 1)


def _parts(place: Place, value: Any, module: str) -> Iterator[Place]:
    def part(name: str, get: Callable[[], Any], store: Callable[[Any], None]) -> Place:
        return Place(place.owner, f"{place.name}{name}", get, store, is_passed=False)

    def items(values: Any, keys: Iterable[Any], written: str) -> Iterator[Place]:
        for key in keys:
            yield part(written.format(key), partial(values.__getitem__, key), partial(values.__setitem__, key))

    if isinstance(value, tuple):
        for at in range(len(value)):
            yield part(f"[{at}]", partial(_item, place, at), partial(_put_item, place, at))
    elif type(value) is list:
        yield from items(value, range(len(value)), "[{}]")
    elif isinstance(value, dict):
        yield from items(value, list(value), "[{!r}]")
    elif isinstance(value, partial):
        yield from items(value.keywords, list(value.keywords), ".keywords[{!r}]")
    elif isinstance(value, types.FunctionType):
        for cell, name in zip(value.__closure__ or (), value.__code__.co_freevars, strict=False):
            if _is_filled(cell):
                yield part(f": {name}", partial(getattr, cell, _CELL), partial(setattr, cell, _CELL))
        for name in ("__defaults__", "__kwdefaults__"):
            yield part(f".{name}", partial(getattr, value, name), partial(setattr, value, name))
    elif isinstance(value, type) and value.__module__ == module:
        for name in [name for name in vars(value) if not name.startswith("__") or name in _CALLED]:
            yield part(f".{name}", partial(getattr, value, name), partial(setattr, value, name))
    elif _is_own(value, module):
        yield from items(vars(value), list(vars(value)), ".{}")
    elif type(value).__module__ == module:
        for name in getattr(type(value), "__slots__", ()):
            yield part(f".{name}", partial(getattr, value, name), partial(object.__setattr__, value, name))


def _is_own(value: Any, module: str) -> bool:
    """Return whether a value is a plain object that keeps settings."""
    if isinstance(value, types.SimpleNamespace | argparse.Namespace):
        return True
    kind = type(value)
    is_foreign = kind.__module__ != module or isinstance(value, type | torch.nn.Module | torch.Tensor)
    return not is_foreign and hasattr(value, "__dict__")


def _plain(place: Place) -> Any:
    """Return what a place holds, as a number of Python's where it is one of NumPy's."""
    value = place.get()
    return value.item() if isinstance(value, np.number) else value


def _item(place: Place, at: int) -> Any:
    return place.get()[at]


def _put_item(place: Place, at: int, item: Any) -> None:
    """Replace an item of a tuple, by a new tuple: a plain one for torch.Size, which holds no symbols."""
    value = place.get()
    items = [item if own == at else kept for own, kept in enumerate(value)]
    place.store(type(value)(*items) if hasattr(value, "_fields") else tuple(items))


def _is_filled(cell: types.CellType) -> bool:
    try:
        return getattr(cell, _CELL) is not None
    except ValueError:
        return False
