"""Name what a reference is called with: the inputs by the names of `Model.forward`, and the model's own tensors."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from typing import Any  # inputs are of whatever type a problem chooses

import torch

from kopt.device.reference.layout import dtype_name
from kopt.device.reference.tree import taken_apart

MOST_NAMED = 6
"""Most tensors of a kind that are named in a message."""


def forward_parameters(model: torch.nn.Module) -> list[inspect.Parameter]:
    """Return the parameters of a model's `forward`."""
    return list(inspect.signature(model.forward).parameters.values())


def input_names(model: torch.nn.Module, count: int) -> list[str]:
    """Return the names of the first `count` arguments of `forward`; `input3` for one that it does not name."""
    named = [p.name for p in forward_parameters(model) if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    return [named[i] if i < len(named) else f"input{i}" for i in range(count)]


def given_in_words(model: torch.nn.Module, inputs: Sequence[Any]) -> str:
    """List the tensors of a call with their sizes and dtypes: `a 8x4 float32; the model has weight 4x4 float32`."""
    given: dict[str, torch.Tensor] = {}
    for name, value in zip(input_names(model, len(inputs)), inputs, strict=True):
        given |= taken_apart(value, name).tensors
    own = {**dict(model.named_parameters()), **dict(model.named_buffers())}
    parts = (_listed(given), f"the model has {_listed(own)}" if own else "")
    return "; ".join(part for part in parts if part)


def _listed(tensors: Mapping[str, torch.Tensor]) -> str:
    listed = [
        f"{name} {'x'.join(map(str, tensor.shape)) or 'one number'} {dtype_name(tensor.dtype)}"
        for name, tensor in list(tensors.items())[:MOST_NAMED]
    ]
    more = f" and {len(tensors) - MOST_NAMED} more" if len(tensors) > MOST_NAMED else ""
    return ", ".join(listed) + more
