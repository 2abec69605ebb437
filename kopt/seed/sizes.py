"""Find the sizes that a problem's workloads change, and give each a symbol.

Two places of one size (a dimension of an input, one of a weight, an attribute of a module) are known to be the same
size where they agree in every workload.  `Any`: inputs and models are of whatever type the problem chooses.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, MutableMapping, Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import torch
from torch.utils._pytree import keystr, tree_flatten_with_path

from kopt.device.reference.setup import load_reference, make_inputs, make_model
from kopt.model.problem import Problem, Workload
from kopt.seed.kept_numbers import Place, kept_in, numbers_in

Values = tuple[int, ...]
"""Values of one size, workload by workload."""

_OF_EVERY_MODULE = frozenset(vars(torch.nn.Module()))
"""Attributes that torch gives each module."""


@dataclass(frozen=True)
class Leaf:
    """A tensor among inputs and weights, or a plain value among inputs."""

    name: str
    """Name of the parameter of `kernel_function`."""
    path: str
    """The expression after the name by which the leaf is reached: `[0]` in a list."""
    value: Any
    store: Callable[[Any], None]
    """Puts another value in its place."""
    is_input: bool


@dataclass(frozen=True)
class Setting:
    """A reference set up for one workload, on meta tensors."""

    reference: ModuleType
    model: torch.nn.Module
    inputs: list[Any]

    def tensors(self) -> list[Leaf]:
        """List the tensors of inputs, parameters, buffers and plain attributes; one that occurs twice counts once."""
        leaves = [*self.input_leaves(), *self._of_model()]
        seen: dict[int, Leaf] = {}
        for leaf in leaves:
            if isinstance(leaf.value, torch.Tensor):
                known = seen.get(id(leaf.value))
                seen[id(leaf.value)] = leaf if known is None else _both(known, leaf)
        return list(seen.values())

    def input_leaves(self) -> list[Leaf]:
        """List the tensors and plain values among the inputs."""
        found = []
        for place, value in enumerate(self.inputs):
            for path, leaf in tree_flatten_with_path(value)[0]:
                store = _storer(self.inputs, place, tuple(path))
                found.append(Leaf(f"input {place}", keystr(path), leaf, store, True))
        return found

    def numbers(self) -> list[Place]:
        """List where the modules and the reference keep numbers."""
        kept = [
            kept_in("model", vars(module), f"{prefix}.{key}" if prefix else key, key)
            for prefix, module in self.model.named_modules()
            for key in list(vars(module))
            if key not in _OF_EVERY_MODULE
        ]
        names = [key for key in vars(self.reference) if not key.startswith("__")]
        kept += [kept_in("reference", vars(self.reference), key, key) for key in names]
        return [number for place in kept for number in numbers_in(place, self.reference.__name__)]

    def _of_model(self) -> Iterator[Leaf]:
        for prefix, module in self.model.named_modules():
            for values in (module._parameters, module._buffers, vars(module)):
                for key, value in list(values.items()):
                    if isinstance(value, torch.Tensor):
                        name = f"{prefix}.{key}" if prefix else key
                        yield Leaf(name.replace(".", "_"), "", value, _setter(values, key), False)


def set_up(problem: Problem, workload: Workload) -> Setting:
    """Set up the reference for a workload on meta tensors.

    Raises:
        ProblemError: the reference raises.
    """
    with torch.device("meta"):
        reference = load_reference(problem, workload)
        model = make_model(reference, problem, seed=0)
        inputs = list(make_inputs(reference, problem, seed=0))
    return Setting(reference, model, inputs)


def alike(settings: Sequence[Setting]) -> list[Setting]:
    """Return the settings with as many tensors, of the same ranks, as the first one."""
    ranks = [[leaf.value.dim() for leaf in setting.tensors()] for setting in settings]
    return [setting for setting, own in zip(settings, ranks, strict=True) if own == ranks[0]]


def values_of(settings: Sequence[Setting]) -> list[list[Values]]:
    """Return for each tensor of the (alike) settings the values of its sizes, dimension by dimension."""
    shapes = [[tuple(leaf.value.shape) for leaf in setting.tensors()] for setting in settings]
    return [[tuple(sizes) for sizes in zip(*of_one, strict=True)] for of_one in zip(*shapes, strict=True)]


def changing(settings: Sequence[Setting], kind: type) -> list[tuple[Place, tuple[Any, ...]]]:
    """Return the numbers that the workloads change, each with its values workload by workload.

    Args:
        settings: the reference by workload.
        kind: `int`, or `float` for numbers that need not be whole.
    """
    by_place = [{(number.owner, number.name): number.get() for number in setting.numbers()} for setting in settings]
    found = []
    for number in settings[0].numbers():
        key = (number.owner, number.name)
        values = tuple(own[key] for own in by_place if type(own.get(key)) is kind)
        if len(values) == len(settings) and any(value != values[0] for value in values):
            found.append((number, values))
    return found


def changes(values: Sequence[int]) -> bool:
    """Return whether the workloads change a size."""
    return len(set(values)) > 1


def _setter(values: MutableMapping[str, Any], key: str) -> Callable[[Any], None]:
    return lambda value: values.__setitem__(key, value)


def _storer(inputs: list[Any], place: int, path: tuple[Any, ...]) -> Callable[[Any], None]:
    """Return a function that replaces a leaf inside an input; tuples are made anew."""

    def replaced(value: Any, rest: tuple[Any, ...], leaf: Any) -> Any:
        if not rest:
            return leaf
        key = rest[0].idx if hasattr(rest[0], "idx") else rest[0].key
        inner = replaced(value[key], rest[1:], leaf)
        if isinstance(value, tuple):
            return tuple(inner if place == key else item for place, item in enumerate(value))
        copy = value.copy()
        copy[key] = inner
        return copy

    return lambda leaf: inputs.__setitem__(place, replaced(inputs[place], path, leaf))


def _both(one: Leaf, other: Leaf) -> Leaf:
    def store(value: Any) -> None:
        one.store(value)
        other.store(value)

    return Leaf(one.name, one.path, one.value, store, one.is_input)
