"""Look at a user's objects: whether a class is one of torch's modules, whether an expression makes tensors."""

from __future__ import annotations

import math
from typing import Any  # expressions have any value

import torch

from kopt.device.reference.elsewhere.anywhere import anywhere
from kopt.device.reference.tree import tensors_of

NAMESPACE: dict[str, Any] = {"torch": torch, "nn": torch.nn, "F": torch.nn.functional, "math": math}
"""What an expression may name beside Python's own functions."""


def makes_tensors(expression: str) -> bool:
    """Return whether the value of an expression holds tensors; it is run, on meta tensors."""
    with anywhere(torch.device("meta")):
        value = eval(expression, dict(NAMESPACE))
    return bool(tensors_of(value))


def is_module_class(value: object) -> bool:
    """Return whether a value is a class of torch's modules."""
    return isinstance(value, type) and issubclass(value, torch.nn.Module)


def is_module(value: object) -> bool:
    """Return whether a value is a module of torch."""
    return isinstance(value, torch.nn.Module)
