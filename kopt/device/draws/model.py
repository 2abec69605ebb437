"""Run the model of a reference on other inputs, read its constants, and draw its parameters."""

from __future__ import annotations

import ast
import itertools
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from torch.utils._pytree import tree_leaves, tree_map

from kopt.device.reference.forward import call
from kopt.device.reference.other_type import computing_in, copied_in
from kopt.device.reference.tree import tensors_of
from kopt.errors import ProblemError

LARGEST_EPSILON = 1e-3
"""Constants of a reference up to this one count as an eps."""

Dimension = tuple[int | str, int]
"""Place of a tensor among the leaves of the inputs, or a parameter's name, and a dimension."""


def outputs_in(model: torch.nn.Module, inputs: tuple[Any, ...], dtype: torch.dtype) -> list[torch.Tensor]:
    """Return a model's outputs on inputs of a dtype; none where it raises, as it may outside its domain."""
    try:
        with computing_in(dtype, list(inputs)):
            output = call(model, tree_map(lambda value: copied_in(value, dtype), list(inputs)))
    except ProblemError:
        return []
    return [copied_in(leaf, dtype) if leaf.is_floating_point() else leaf for leaf in tensors_of(output)]


def are_numbers(values: torch.Tensor, given: torch.Tensor) -> bool:
    """Return whether an output has no NaN that the given one lacks, and is not mostly infinite."""
    if not values.is_floating_point():
        return True
    values, given = values.double(), given.double()  # torch lacks operations of the 8-bit types on some devices
    if bool(values.isnan().any()) and not bool(given.isnan().any()):
        return False
    return float(values.isfinite().double().mean()) >= 0.5 * float(given.isfinite().double().mean())


def sizes_of(model: torch.nn.Module, inputs: Sequence[Any]) -> dict[Dimension, int]:
    """Return the size of each dimension of the inputs and parameters."""
    named: list[tuple[int | str, Any]] = [*enumerate(tree_leaves(list(inputs))), *model.named_parameters()]
    return {
        (name, dimension): size
        for name, value in named
        if isinstance(value, torch.Tensor)
        for dimension, size in enumerate(value.shape)
    }


def small_constants(source: str) -> tuple[float, ...]:
    """Return the small positive numbers in a reference's text, the largest first."""
    numbers = {node.value for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Constant)}
    small = {number for number in numbers if isinstance(number, float) and 0 < number <= LARGEST_EPSILON}
    return tuple(sorted(small, reverse=True))


def epsilons_of(model: torch.nn.Module) -> tuple[float, ...]:
    """Return the eps of a model's modules."""
    named: Iterable[Mapping[str, object]] = (vars(module) for module in model.modules())
    found = {values["eps"] for values in named if isinstance(values.get("eps"), float)}
    return tuple(sorted(float(str(epsilon)) for epsilon in found))


def state_of(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    """Return the parameters and buffers of a model that hold floating-point numbers, by name."""
    named: Iterable[tuple[str, torch.Tensor]] = itertools.chain(model.named_parameters(), model.named_buffers())
    return {name: value for name, value in named if value.is_floating_point()}


def draw_parameters(model: torch.nn.Module) -> None:
    """Draw the parameters and buffers that the model sets to a constant."""
    for parameter in model.parameters():
        if parameter.is_floating_point() and _is_constant(parameter):
            parameter.add_(torch.randn_like(parameter), alpha=0.5)
    for buffer in model.buffers():
        if buffer.is_floating_point() and _is_constant(buffer):
            buffer.add_(torch.rand_like(buffer), alpha=0.5)


def make_weights_positive(model: torch.nn.Module) -> None:
    """Replace each weight by its magnitude."""
    for weight in weights_of(model):
        weight.abs_()


def weights_of(model: torch.nn.Module) -> list[torch.Tensor]:
    """Return the parameters that products are made of: matrices and kernels of convolutions."""
    return [one for one in model.parameters() if one.dim() > 1 and one.is_floating_point()]


def _is_constant(values: torch.Tensor) -> bool:
    return values.numel() > 0 and bool((values == values.flatten()[0]).all())
