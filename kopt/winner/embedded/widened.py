"""Run a reference in float64, also where its source names narrower types."""

import copy
from collections.abc import Callable
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

WIDENED = {torch.bfloat16, torch.float16, torch.float32}
"""Types for which float64 stands."""

CONVERSIONS = (torch.Tensor.bfloat16, torch.Tensor.half, torch.Tensor.float)
"""Methods that convert to such types."""


class Widened(TorchFunctionMode):
    """Have float64 stand for narrower floating-point types, save for those of 8 bits, which quantise."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Call a function of torch, with float64 for the types that it is given."""
        if func in CONVERSIONS:
            return args[0].double()
        named = {name: wide(value) for name, value in (kwargs or {}).items()}
        return func(*map(wide, args), **named)


def wide(value: Any) -> Any:
    """Return float64 for a type of 16 or 32 bits, and any other value as it is."""
    return torch.float64 if isinstance(value, torch.dtype) and value in WIDENED else value


def result_of(function: Callable[..., Any], inputs: list[Any]) -> list[Any]:
    """Call a function on copies of the inputs; return its result and the copies, which it may have changed."""
    copies = copy.deepcopy(inputs)
    return [function(*copies), copies]


def exact_result(model: torch.nn.Module, inputs: list[Any]) -> tuple[list[Any] | None, str]:
    """Run a reference in float64.

    Args:
        model: the reference's model, in its own type.
        inputs: its inputs, in float64.

    Returns:
        Its result, and empty words; None, and why it does not run in float64, as where it reads the bits of numbers.
    """
    try:
        with Widened():
            return result_of(copy.deepcopy(model).double(), inputs), ""
    except (RuntimeError, TypeError, ValueError) as error:
        return None, f"{type(error).__name__}: {error}".partition("\n")[0]
